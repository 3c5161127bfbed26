"""A canvas to paint a mask on a picture: a component of its own, drawn by ``mask_canvas.js``."""

import base64
from pathlib import Path
from typing import Any

import streamlit as st

from web import look, studio
from web.person import current_caller

_FILE = Path(__file__)
_COMPONENT = st.components.v2.component(
    "mask_canvas",
    html=_FILE.with_suffix(".html").read_text(),
    css=_FILE.with_suffix(".css").read_text(),
    js=_FILE.with_suffix(".js").read_text(),
)


def draw(label: str, help: str, key: str, picture: str | None) -> str | None:
    """The canvas over ``picture``; the mask's reference is kept in the session under ``key``.

    White is what was painted. Without a picture there is nothing to paint on, and no mask.
    """
    if picture is None:
        st.session_state[key] = None
        return None
    mask: str | None = st.session_state.setdefault(key, None)
    canvas = f"{key}.canvas"
    shown = {
        "label": label,
        "help": help,
        "picture": look.upload_url(picture),
        "mask": mask and look.upload_url(mask),
        "stroke": _stroke_that_made(mask, key),
    }
    _COMPONENT(key=canvas, data=shown, on_painted_change=lambda: _keep(key, st.session_state[canvas]))
    return mask


def _keep(key: str, state: Any) -> None:
    """Store what was painted. The canvas knows by its stroke that it already shows this mask."""
    painted = state["painted"]
    mask = None
    if painted["png"]:
        data = base64.b64decode(painted["png"].partition(",")[2])
        mask = studio.current().hand_in(data, current_caller(), mask=True).reference
    st.session_state[key] = mask
    st.session_state[f"{key}.stroke"] = (mask, painted["stroke"])


def _stroke_that_made(mask: str | None, key: str) -> str | None:
    made, stroke = st.session_state.get(f"{key}.stroke", (None, None))
    return stroke if made == mask else None
