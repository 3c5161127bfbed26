"""A job's history as people read it: a line down the page with a mark for all that happened."""

from html import escape

import streamlit as st

from jobs.chronicle import Event, EventKind
from web import look
from web.studio import Studio

_TITLES = {
    EventKind.ASKED: "Asked for",
    EventKind.STARTED: "Started",
    EventKind.LOST: "Lost: its executor fell silent",
    EventKind.STUMBLED: "The generator broke down",
    EventKind.HANDED_BACK: "Handed back, to be drawn on",
    EventKind.CANCEL_ASKED: "Asked to stop",
    EventKind.SUCCEEDED: "Finished",
    EventKind.FAILED: "Failed",
    EventKind.CANCELLED: "Cancelled",
    EventKind.ASKED_AGAIN: "Asked for again",
}


def show(house: Studio, job_id: str) -> None:
    """All that happened to the job, behind a line to open."""
    with st.expander("History"):
        events = "".join(_item(event) for event in house.chronicle.of(job_id))
        st.html(f'<ol class="history">{events}</ol>')


def _item(event: Event) -> str:
    when = "" if event.at is None else f'<time title="{event.at:%-d %b %Y}, UTC">{event.at:%H:%M:%S}</time>'
    about = [text for text in (_lasting(event), event.executor) if text]
    reason = f"<p>{escape(event.reason)}</p>" if event.reason else ""
    small = f"<small>{escape(' · '.join(about))}</small>" if about else ""
    kind = event.kind.value.replace(" ", "-")
    return f'<li class="{kind}">{when}<strong>{_TITLES[event.kind]}</strong>{small}{reason}</li>'


def _lasting(event: Event) -> str:
    if event.seconds is None:
        return ""
    lasting = look.duration(event.seconds)
    return f"waited {lasting}" if event.kind is EventKind.STARTED else f"after {lasting} of work"
