"""Everything that can go wrong, as one sentence: an HTTP status for the API, a notice on a page."""

import logging

import streamlit as st

from db import DatabaseError
from jobs.artifacts import ArtifactNotFound, StoreError
from jobs.gallery import NotYours
from jobs.presets import PresetNotFound, PresetRefused
from jobs.queue import JobNotFound, TooManyWaiting
from jobs.recipe import NoRecipe
from jobs.uploads import UploadError, UploadNotFound
from jobs.votes import AlreadyVoted


class Refused(ValueError):
    """What a person asked for cannot be done; the text says what is wrong and what to do."""


class NothingThere(LookupError):
    """The job exists, but not the picture that was asked for."""


class Conflict(Exception):
    """It cannot be done in the state that the job is in."""


STATUS: dict[type[Exception], int] = {
    NotYours: 403,
    JobNotFound: 404,
    ArtifactNotFound: 404,
    NothingThere: 404,
    NoRecipe: 404,
    PresetNotFound: 404,
    UploadNotFound: 404,
    AlreadyVoted: 409,
    Conflict: 409,
    Refused: 422,
    PresetRefused: 422,
    UploadError: 422,
    TooManyWaiting: 429,
    DatabaseError: 503,
    StoreError: 503,
}
UNKNOWN = "Something went wrong in the studio itself; its log says what. Try again."


def show(error: Exception) -> bool:
    """Show ``error`` on the page that raised it, in place of a traceback (``st.App.on_script_error``)."""
    if isinstance(error, tuple(STATUS)):
        st.error(str(error), icon=":material/error:")
    else:
        logging.getLogger(__name__).error("a page failed", exc_info=error)
        st.error(UNKNOWN, icon=":material/error:")
    return True
