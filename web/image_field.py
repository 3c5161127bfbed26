"""Pictures in a form: an uploader, and a thumbnail with a way to remove it. Values are references."""

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

import streamlit as st

from jobs.uploads import FORMATS, MAX_BYTES
from web import look, studio
from web.person import current_caller
from web.plain_text import plain
from web.problems import STATUS

ENDINGS = ["jpg", *(kind.lower() for kind in FORMATS)]


def draw_one(label: str, help: str, key: str) -> str | None:
    """A field for one picture; its reference is kept in the session under ``key``."""
    reference: str | None = st.session_state.setdefault(key, None)
    if reference is None:
        _uploader(label, help, key, lambda added: _set(key, added[0]))
    else:
        _label(label)
        _thumbnail(reference, key, partial(_set, key, None))
    return reference


def draw_several(label: str, help: str, key: str, most: int) -> list[str]:
    """A field for up to ``most`` pictures; their references are kept in the session under ``key``."""
    chosen: list[str] = list(st.session_state.setdefault(key, []))
    if len(chosen) < most:
        _uploader(label, help, key, lambda added: _set(key, (chosen + added)[:most]), several=True)
    else:
        _label(label)
    for place, reference in enumerate(chosen):
        rest = chosen[:place] + chosen[place + 1 :]
        _thumbnail(reference, f"{key}.{place}", partial(_set, key, rest))
    return chosen


def _set(key: str, value: Any) -> None:
    st.session_state[key] = value


def _uploader(
    label: str, help: str, key: str, accept: Callable[[list[str]], None], *, several: bool = False
) -> None:
    """An uploader that is empty again as soon as it has handed its files over."""
    turn = st.session_state.setdefault(f"{key}.turn", 0)
    widget = f"{key}.file.{turn}"
    st.file_uploader(
        label,
        ENDINGS,
        key=widget,
        help=help,
        max_upload_size=MAX_BYTES // 10**6,
        accept_multiple_files=several,
        on_change=lambda: _hand_in(key, widget, accept),
    )
    problem = st.session_state.get(f"{key}.problem")
    if problem:
        st.error(plain(problem), icon=":material/error:")


def _hand_in(key: str, widget: str, accept: Callable[[list[str]], None]) -> None:
    handed = st.session_state[widget]
    files = handed if isinstance(handed, list) else [handed] if handed else []
    st.session_state[f"{key}.turn"] += 1
    st.session_state[f"{key}.problem"] = None
    caller = current_caller()
    try:
        added = [studio.current().hand_in(file.getvalue(), caller).reference for file in files]
    except tuple(STATUS) as problem:
        st.session_state[f"{key}.problem"] = str(problem)
        return
    if added:
        accept(added)


def _label(label: str) -> None:
    st.html(f'<p class="label">{escape(label)}</p>')


def _thumbnail(reference: str, key: str, remove: Callable[[], None]) -> None:
    with st.container(key=f"upload-{key}", horizontal=True, vertical_alignment="center"):
        if studio.current().uploads.has(reference):
            st.html(look.thumbnails([reference]), width="content")
        else:
            st.warning("This picture is not here any more: remove it, or hand it in again.")
        st.button("Remove", key=f"{key}.remove", type="tertiary", icon=":material/close:", on_click=remove)
