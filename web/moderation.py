"""What is done about a picture: a mark where it is hidden, and buttons to hide, show and delete it."""

import streamlit as st

from jobs.records import Job
from web import studio
from web.permissions import Right
from web.person import current_caller


def mark(job: Job) -> str:
    """HTML that says that a result is hidden; nothing where it is not."""
    hidden = job.result is not None and job.result.hidden
    return '<span class="badge failed">hidden</span>' if hidden else ""


def offer_hiding(job: Job) -> None:
    """A button that hides the result, or shows it again."""
    hidden = job.result is not None and job.result.hidden
    label, icon = ("Show", ":material/visibility:") if hidden else ("Hide", ":material/visibility_off:")
    if st.button(label, key=f"hide-{job.id}", icon=icon):
        current_caller().require(Right.MODERATE)
        studio.current().reports.hide(job.id, hidden=not hidden)
        st.rerun()


def offer_deletion(job: Job) -> None:
    """A button that deletes the result; the page shows it no more."""
    with st.popover("Delete", icon=":material/delete:"):
        st.write("The picture, its animation and its votes go for ever.")
        if st.button("Delete for ever", type="primary", key=f"delete-{job.id}"):
            studio.current().delete(job.id, current_caller())
            st.query_params.pop("job", None)
            st.rerun()
