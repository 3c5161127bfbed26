"""Above the form: choose a preset, keep the parameters as one, delete one's own."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from jobs.presets import MAX_NAME, Preset
from web import form, presets
from web.problems import STATUS
from web.studio import Generator, Studio, Weights


def choose(house: Studio, person: str, generator: Generator, weights: Weights, scope: str) -> None:
    """Offer the presets; a chosen one is in the form of ``scope``, which must be drawn after this."""
    there = presets.available(house, person, generator, weights)
    if not there:
        return
    chosen = st.menu_button(
        "Presets", there, format_func=_shown, icon=":material/tune:", key=f"presets.{scope}"
    )
    if chosen is None:
        return
    try:
        form.fill(presets.filling(house, chosen), scope)
    except tuple(STATUS) as problem:
        st.error(str(problem), icon=":material/error:")
    else:
        st.toast(f"The parameters are those of “{chosen.name}”.", icon=":material/tune:")


def keep(
    house: Studio, person: str, generator: Generator, weights: Weights, parameters: Mapping[str, Any]
) -> None:
    """Offer to keep ``parameters`` under a name, and to delete what was kept."""
    with st.popover("Save as preset", icon=":material/bookmark_add:"):
        with st.form("keep-preset", border=False, clear_on_submit=True):
            name = st.text_input("Name", max_chars=MAX_NAME, placeholder="my portraits")
            st.caption("Keeps all parameters but prompt and seed.")
            pressed = st.form_submit_button("Save", type="primary")
        if pressed:
            _save(house, person, Preset(name, generator.name, weights.name, parameters))
        for preset in presets.available(house, person, generator, weights):
            if preset.number is not None and st.button(
                f"Delete “{preset.name}”", key=f"forget-{preset.number}", type="tertiary"
            ):
                house.presets.delete(person, preset.number)
                st.rerun()


def _save(house: Studio, person: str, preset: Preset) -> None:
    try:
        kept = presets.save(house, person, preset)
    except tuple(STATUS) as problem:
        st.error(str(problem), icon=":material/error:")
    else:
        st.toast(f"Kept as “{kept.name}”.", icon=":material/bookmark_added:")
        st.rerun()


def _shown(preset: Preset) -> str:
    return preset.name if preset.number is None else f"{preset.name} · yours"
