"""Above the form: choose a preset, keep the parameters as one, delete one's own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import streamlit as st

from jobs.presets import MAX_NAME, Preset
from web import form, presets
from web.permissions import Caller, Right
from web.plain_text import plain
from web.problems import STATUS
from web.studio import Generator, Studio, Weights


def show(
    house: Studio,
    caller: Caller,
    generator: Generator,
    weights: Weights,
    parameters: Mapping[str, Any],
    scope: str,
) -> None:
    """Offer presets for the form of ``scope``, which holds ``parameters``."""
    there = presets.available(house, caller.person, generator, weights)
    if there:
        _choose(house, there, generator, weights, scope)
    if not caller.may(Right.DRAW):
        return
    person = caller.person
    with st.popover("Save as preset", icon=":material/bookmark_add:"):
        _keep(house, person, Preset("", generator.name, weights.name, parameters))
        for preset in there:
            if preset.number is not None and st.button(f"Delete “{plain(preset.name)}”", type="tertiary"):
                house.presets.delete(person, preset.number)
                st.rerun()


def _choose(
    house: Studio,
    there: list[Preset],
    generator: Generator,
    weights: Weights,
    scope: str,
) -> None:
    key = f"presets.{scope}"

    def fill() -> None:
        """Runs before the page is drawn again. What no preset has, as the seed, stays."""
        preset: Preset = st.session_state[key]
        try:
            values = presets.filling(house, preset)
        except tuple(STATUS) as problem:
            st.toast(plain(str(problem)), icon=":material/error:")
        else:
            form.fill(generator.spec, weights.defaults, values, scope, others_stay=True)
            st.toast(f"The parameters are those of “{plain(preset.name)}”.", icon=":material/tune:")

    st.menu_button("Presets", there, format_func=_shown, icon=":material/tune:", key=key, on_click=fill)


def _keep(house: Studio, person: str, preset: Preset) -> None:
    with st.form("keep-preset", border=False, clear_on_submit=True):
        name = st.text_input("Name", max_chars=MAX_NAME, placeholder="my portraits")
        st.caption("Keeps all parameters but prompt and seed.")
        if not st.form_submit_button("Save", type="primary"):
            return
    try:
        kept = presets.save(house, person, replace(preset, name=name))
    except tuple(STATUS) as problem:
        st.error(plain(str(problem)), icon=":material/error:")
    else:
        st.toast(f"Kept as “{plain(kept.name)}”.", icon=":material/bookmark_added:")
        st.rerun()


def _shown(preset: Preset) -> str:
    return preset.name if preset.number is None else f"{plain(preset.name)} · yours"
