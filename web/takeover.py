"""Fills the form with what made an earlier picture: one of the gallery, or a file that was saved here."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from jobs.queue import JobNotFound
from jobs.recipe import MAX_FILE_BYTES, NoRecipe, recipe_in
from web import form, studio
from web.studio import Studio

KINDS = ("png", "gif", "webp", "mp4", "zip")
_NUMBER_OF_FILES = "takeover.files"
_OUTCOME = "takeover.outcome"


def scope(generator: str, weights: str) -> str:
    """What tells apart the forms of different generators and weights."""
    return f"{generator}.{weights}"


def follow_link(house: Studio) -> None:
    """Take over from the job that a link "use these parameters" names."""
    job_id = st.query_params.pop("like", None)
    if job_id is None:
        return
    try:
        job = house.queue.get(job_id)
    except JobNotFound as error:
        st.toast(str(error))
        return
    problem = _take_over(house, job.generator, job.spec)
    if problem:
        st.toast(problem, icon=":material/warning:")


def offer_upload() -> None:
    """A place to drop a file; what it holds is in the form when the page is drawn next."""
    number = st.session_state.setdefault(_NUMBER_OF_FILES, 0)
    st.file_uploader(
        "Drop a picture to get its parameters",
        KINDS,
        key=f"takeover.file.{number}",
        on_change=_take_file,
        max_upload_size=MAX_FILE_BYTES // 2**20,
        help="Any file that was saved here: PNG, GIF, WebP, MP4 or a zip of frames.",
    )
    name, problem = st.session_state.pop(_OUTCOME, (None, ""))
    if problem:
        st.warning(problem, icon=":material/warning:")
    elif name is not None:
        st.toast(f"Prompt and parameters are those of {name}.", icon=":material/tune:")


def _take_file() -> None:
    number = st.session_state[_NUMBER_OF_FILES]
    file = st.session_state[f"takeover.file.{number}"]
    if file is None:
        return
    st.session_state[_NUMBER_OF_FILES] = number + 1  # an empty uploader for the next file
    try:
        recipe = recipe_in(file.getvalue())
        problem = _take_over(studio.current(), recipe["generator"], recipe["spec"])
    except NoRecipe as error:
        problem = str(error)
    st.session_state[_OUTCOME] = (file.name, problem)


def _take_over(house: Studio, generator: str, asked: Mapping[str, Any]) -> str:
    """Fill prompt and form; returns what is wrong where only the prompt, or nothing, can be taken over."""
    try:
        spec = house.parse_spec(generator, asked).model_dump(mode="json")
    except ValueError as error:
        return f"{_take_over_prompt(house, asked)} {error}"
    weights = spec["weights"]
    st.session_state["prompt"] = spec["prompt"]
    st.session_state["generator"] = generator
    st.session_state[f"{generator}.weights"] = weights
    form.fill(spec, scope(generator, weights))
    return ""


def _take_over_prompt(house: Studio, asked: Mapping[str, Any]) -> str:
    try:
        spec = house.parse_spec(next(iter(house.generators)), {"prompt": asked.get("prompt")})
    except ValueError:
        return "The parameters cannot be used here."
    st.session_state["prompt"] = spec.model_dump()["prompt"]
    return "Only the prompt was taken over, for the parameters cannot be used here."
