"""The entry of the pages: what streamlit runs for every visitor, before the page that was asked for."""

import streamlit as st

import logs
from web import look, naming

st.set_page_config(page_title="Studio", page_icon=str(look.MARK), layout="wide")
page = st.navigation(
    [st.Page(file, title=title, icon=icon) for file, (title, icon) in look.PAGES.items()], position="hidden"
)
look.dress()
with logs.about(job=naming.on_page()):
    page.run()
