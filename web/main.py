"""The entry of the pages: what streamlit runs for every visitor, before the page that was asked for."""

import streamlit as st

import logs
from web import look, naming, problems
from web.person import current_caller

st.set_page_config(page_title="Studio", page_icon=str(look.MARK), layout="wide")
page = st.navigation(
    [st.Page(file, title=title, icon=icon) for file, (title, icon) in look.PAGES.items()], position="hidden"
)
try:
    look.dress(current_caller())
except tuple(problems.STATUS):  # the page will say so itself
    look.dress(None)
with logs.about(job=naming.on_page()):
    page.run()
