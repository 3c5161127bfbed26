"""Weights: which sets there are, what they draw, and how to get or remove them."""

import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

import streamlit as st
from streamlit.runtime.uploaded_file_manager import UploadedFile

from web import look, studio
from web.door import LARGEST_WEIGHTS_MB
from web.permissions import WHY_NO_WEIGHTS, Right
from web.person import current_caller
from web.plain_text import plain
from web.problems import Refused, refusing
from web.studio import Studio, WeightsStatus

REFRESH_SECONDS = 1.0


def _page() -> None:
    house = studio.current()
    look.heading("Weights", "What the generators draw with, and how to get more.")
    if not current_caller().may(Right.MANAGE_WEIGHTS):
        st.info(WHY_NO_WEIGHTS, icon=":material/lock:")
    every = house.weights.sets()
    _shelf(house, [status for status in every if status.entry.generators])
    st.html('<h2 class="title">Parts of others, or without a generator yet</h2>')
    _shelf(house, [status for status in every if not status.entry.generators])


def _shelf(house: Studio, sets: Sequence[WeightsStatus]) -> None:
    with st.grid(2, min_column_width=300, gap=16):
        for status in sets:
            with st.container(key=f"card-weights-{status.entry.name}"):
                _card(house, status)


def _card(house: Studio, status: WeightsStatus) -> None:
    entry = status.entry
    st.html(
        f'<div class="headline"><p>{escape(entry.title)}</p>{_badge(status)}</div>'
        f'<p class="draws">{escape(entry.draws)}</p>'
        + look.facts(
            {
                **_use(house, status),
                "Licence": entry.licence,
                "On the disk": look.size(entry.space),
                "Memory while drawing": f"{entry.memory_gb:g} GB",
            }
        )
    )
    if status.downloading:
        _arriving(entry.name)
        return
    if status.problem:
        st.error(plain(status.problem), icon=":material/error:")
    if current_caller().may(Right.MANAGE_WEIGHTS):
        _actions(house, status)


def _badge(status: WeightsStatus) -> str:
    if status.installed:
        return '<span class="badge succeeded">installed</span>'
    if status.downloading:
        return '<span class="badge running">downloading</span>'
    if status.arrived:
        return f'<span class="badge">{look.size(status.arrived)} are here</span>'
    return '<span class="badge">not installed</span>'


def _use(house: Studio, status: WeightsStatus) -> dict[str, str]:
    """What the set is good for, named."""
    if status.entry.generators:
        known = house.generators
        titles = (known[name].title if name in known else name for name in status.entry.generators)
        return {"Makes available": ", ".join(titles)}
    if status.part_of:
        return {"Part of": f"{status.part_of[0]}{' and others' if len(status.part_of) > 1 else ''}"}
    return {"Makes available": "no generator yet"}


@st.fragment(run_every=REFRESH_SECONDS)
def _arriving(name: str) -> None:
    house = studio.current()
    status = house.weights.status(name)
    if not status.downloading:
        st.rerun()
    arrived, space = status.arrived, max(status.entry.space, 1)
    st.progress(min(arrived / space, 1.0), text=f"{look.size(arrived)} of {look.size(space)}")
    if current_caller().may(Right.MANAGE_WEIGHTS) and st.button("Stop", key=f"stop-{name}"):
        house.weights.stop(name)
        st.rerun()


def _actions(house: Studio, status: WeightsStatus) -> None:
    entry, told = status.entry, st.container()
    with st.container(key=f"actions-{entry.name}", horizontal=True):
        wanted = not status.installed and not entry.ships
        download = wanted and st.button("Download", key=f"download-{entry.name}", type="primary")
        verify = status.installed and st.button("Verify", key=f"verify-{entry.name}")
        if not status.installed and st.button("Import", key=f"import-{entry.name}"):
            _import(entry.name, entry.title)
        remove = not entry.ships and status.arrived and _offer_removal(status)
    with told:
        try:
            with refusing():
                if download:
                    house.weights.download(entry.name)
                    st.rerun()
                if verify:
                    _verify(house, status)
                if remove:
                    house.weights.remove(entry.name)
                    st.rerun()
        except Refused as problem:
            st.error(plain(str(problem)), icon=":material/error:")


def _verify(house: Studio, status: WeightsStatus) -> None:
    with st.spinner("Reads every file …"):
        house.weights.verify(status.entry.name)
    st.success("Every file is whole.", icon=":material/check:")


def _offer_removal(status: WeightsStatus) -> bool:
    with st.popover("Remove"):
        st.write("Its files are deleted, but for those that other installed sets draw with.")
        return st.button("Remove the files", key=f"remove-{status.entry.name}", type="primary")


@st.dialog("Import files", width="medium")
def _import(name: str, title: str) -> None:
    st.write(f"Files of {title} that were fetched elsewhere, all of them or some:")
    uploads = st.file_uploader(
        f"From your machine, up to {LARGEST_WEIGHTS_MB} MB each",
        accept_multiple_files=True,
        max_upload_size=LARGEST_WEIGHTS_MB,
    )
    lines = ""
    if current_caller().may(Right.READ_FILES):
        lines = st.text_area("From the studio's machine: paths, one a line", height=96)
    if not st.button("Import", key="import", type="primary"):
        return
    try:
        with st.spinner("Checks and copies …"), refusing():
            _take(name, uploads, [Path(line.strip()) for line in lines.splitlines() if line.strip()])
    except Refused as problem:
        st.error(plain(str(problem)), icon=":material/error:")
    else:
        st.rerun()


def _take(name: str, uploads: Sequence[UploadedFile], paths: Sequence[Path]) -> None:
    if not uploads and not paths:
        raise Refused("There is nothing to import: choose a file, or type the path of one.")
    with tempfile.TemporaryDirectory() as folder:
        saved = []
        for number, upload in enumerate(uploads):
            saved.append(Path(folder, str(number), Path(upload.name).name))
            saved[-1].parent.mkdir()
            saved[-1].write_bytes(upload.getbuffer())
        studio.current().weights.import_files([*saved, *paths], name)


_page()
