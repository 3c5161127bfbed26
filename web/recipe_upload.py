"""A place on the page to drop a file that was saved here: what made it fills the form."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from jobs.recipe import MAX_FILE_BYTES, NoRecipe, recipe_in
from web.plain_text import plain
from web.studio import Studio

KINDS = ("png", "gif", "webp", "mp4", "zip")
Fill = Callable[[str, str, str, Mapping[str, Any]], None]
"""Fills the form: generator, weights, prompt, parameters."""


def show(house: Studio, fill: Fill) -> None:
    """Offer it, and tell what came of the last file."""
    number = st.session_state.setdefault("recipe.number", 0)
    with st.container(key="recipe"):
        st.file_uploader(
            "Drop a picture to get its parameters",
            KINDS,
            key=f"recipe.file.{number}",
            on_change=_take,
            args=(house, fill),
            max_upload_size=MAX_FILE_BYTES // 2**20,
            help="Any file that was saved here: PNG, GIF, WebP, MP4 or a zip of frames.",
        )
    name, problem = st.session_state.pop("recipe.outcome", ("", ""))
    if problem:
        st.warning(plain(problem), icon=":material/warning:")
    elif name:
        st.toast(f"Prompt and parameters are those of {plain(name)}.", icon=":material/tune:")


def _take(house: Studio, fill: Fill) -> None:
    """Runs before the page is drawn again, so that the form can still be filled."""
    number = st.session_state["recipe.number"]
    file = st.session_state[f"recipe.file.{number}"]
    if file is None:
        return
    st.session_state["recipe.number"] = number + 1  # an empty uploader for the next file
    try:
        recipe = recipe_in(file.getvalue())
        problem = _fill_from(house, recipe["generator"], recipe["spec"], fill)
    except NoRecipe as error:
        problem = str(error)
    st.session_state["recipe.outcome"] = (file.name, problem)


def _fill_from(house: Studio, generator: str, asked: Mapping[str, Any], fill: Fill) -> str:
    """Returns what is wrong where only the prompt, or nothing, can be taken over."""
    try:
        spec = house.parse_spec(generator, asked).model_dump(mode="json")
    except ValueError as error:
        return f"{_fill_prompt(house, asked)} {error}"
    fill(generator, spec["weights"], spec["prompt"], spec)
    return ""


def _fill_prompt(house: Studio, asked: Mapping[str, Any]) -> str:
    usable = next(name for name, generator in house.generators.items() if generator.weights)
    try:
        spec = house.parse_spec(usable, {"prompt": asked.get("prompt")})
    except ValueError:
        return "The parameters cannot be used here."
    st.session_state["prompt"] = spec.model_dump()["prompt"]
    return "Only the prompt was taken over, for the parameters cannot be used here."
