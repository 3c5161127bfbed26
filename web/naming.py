"""Names the job that a request or a page is about, in every line of the log that it causes."""

import re

import streamlit as st
from starlette.types import ASGIApp, Receive, Scope, Send

import logs

_JOB = "[0-9A-Za-z-]{1,64}"
_IN_PATH = re.compile(rf"/jobs/({_JOB})(?:/|$)")


class NameJob:
    """ASGI middleware around everything that may be asked about a job."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _IN_PATH.search(scope.get("path", ""))
        with logs.about(job=named and named[1]):
            await self.app(scope, receive, send)


def on_page() -> str | None:
    """The job that the address of the page names, if there is one."""
    named = st.query_params.get("job", "")
    return named if re.fullmatch(_JOB, named) else None
