"""Everything that can go wrong, as one sentence: an HTTP status for the API, a notice on a page."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

import logs
from db import DatabaseError
from jobs.gallery import NotYours
from jobs.moderation import PromptRefused
from jobs.presets import PresetNotFound, PresetRefused
from jobs.queue import JobNotFound, NotFailed, TooManyWaiting
from jobs.recipe import NoRecipe
from jobs.reports import AlreadyReported, ReportRefused
from jobs.tokens import TokenNotFound, TokenRefused
from jobs.uploads import UploadError, UploadNotFound
from jobs.votes import AlreadyVoted
from store import ArtifactNotFound, StoreError
from web import naming
from web.plain_text import plain


class Refused(ValueError):
    """What a person asked for cannot be done; the text says what is wrong and what to do."""


class NotAllowed(PermissionError):
    """Others may do it; the text says who."""


class NothingThere(LookupError):
    """There is no such thing, or the job has no picture yet; the text says so."""


class Conflict(Exception):
    """It cannot be done in the state that the job is in."""


class TooMuch(Exception):
    """It was asked for too often; ``seconds`` later one may again. ``what`` is in the plural."""

    def __init__(self, what: str, seconds: float) -> None:
        self.seconds = max(1, math.ceil(seconds))
        super().__init__(f"You have sent too many {what}: wait {self.seconds} s, then go on.")


class TooManyFromHere(Exception):
    """People who have not signed in have enough jobs waiting from one address."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"{limit} jobs from your address are waiting, as many as people may have there who have not "
            "signed in: wait for one, or sign in."
        )


STATUS: dict[type[Exception], int] = {
    NotYours: 403,
    NotAllowed: 403,
    JobNotFound: 404,
    ArtifactNotFound: 404,
    NothingThere: 404,
    NoRecipe: 404,
    PresetNotFound: 404,
    UploadNotFound: 404,
    TokenNotFound: 404,
    AlreadyReported: 409,
    AlreadyVoted: 409,
    Conflict: 409,
    NotFailed: 409,
    Refused: 422,
    PresetRefused: 422,
    PromptRefused: 422,
    ReportRefused: 422,
    TokenRefused: 422,
    UploadError: 422,
    TooManyFromHere: 429,
    TooManyWaiting: 429,
    TooMuch: 429,
    DatabaseError: 503,
    StoreError: 503,
}
UNKNOWN = "Something went wrong in the studio itself; its log says what. Try again."


@contextmanager
def refusing() -> Iterator[None]:
    """Turn a ValueError whose text is a sentence for people into Refused."""
    try:
        yield
    except ValueError as error:
        raise Refused(str(error)) from error


def show(error: Exception) -> bool:
    """Show ``error`` on the page that raised it, in place of a traceback (``st.App.on_script_error``)."""
    if isinstance(error, tuple(STATUS)):
        st.error(plain(str(error)), icon=":material/error:")
    else:
        with logs.about(job=naming.on_page()):
            logging.getLogger(__name__).error("a page failed", exc_info=error)
        st.error(UNKNOWN, icon=":material/error:")
    return True
