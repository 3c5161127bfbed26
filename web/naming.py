"""Names the job that a request or a page is about, in every line of the log that it causes."""

import logging
import re

import streamlit as st
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import logs

_JOB = "[0-9A-Za-z-]{1,64}"
_IN_PATH = re.compile(rf"/jobs/({_JOB})(?:/|$)")

_log = logging.getLogger(__name__)


class NameJob:
    """ASGI middleware around everything that may be asked about a job.

    An error that was answered already is written down here, where the job is known, and goes no further.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = _IN_PATH.search(scope.get("path", ""))
        answered = False

        async def send_and_note(message: Message) -> None:
            nonlocal answered
            answered |= message["type"] == "http.response.start"
            await send(message)

        with logs.about(job=named and named[1]):
            try:
                await self.app(scope, receive, send_and_note)
            except Exception:
                if not answered:
                    raise
                _log.exception("%s %s failed", scope["method"], scope["path"])


def on_page() -> str | None:
    """The job that the address of the page names, if there is one."""
    named = st.query_params.get("job", "")
    return named if re.fullmatch(_JOB, named) else None
