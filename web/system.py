"""System: who draws, on what, and how long the queue is."""

from html import escape

import streamlit as st

from jobs.queue import JobNotFound
from jobs.records import ExecutorStatus
from web import look, studio
from web.permissions import Caller, Right
from web.person import current_caller
from web.studio import Studio

REFRESH_SECONDS = 2.0


def _page() -> None:
    look.heading("System", "Who draws, on what, and how long the queue is.")
    caller = current_caller()
    if not caller.may(Right.SEE_SYSTEM):
        look.refuse(caller, Right.SEE_SYSTEM)
        return
    if caller.may(Right.PAUSE):
        _offer_pause(caller)
    _now()
    _retention()
    st.caption("Programs do all that the pages do: [the API](/api/docs).")


def _offer_pause(caller: Caller) -> None:
    queue = studio.current().queue
    if queue.paused():
        st.info("The queue is paused: running jobs go on, and none starts.", icon=":material/pause_circle:")
        turn, label, icon = queue.resume, "Resume the queue", ":material/play_arrow:"
    else:
        turn, label, icon = queue.pause, "Pause the queue", ":material/pause:"
    st.button(label, icon=icon, on_click=turn, args=(caller.person,))


@st.fragment(run_every=REFRESH_SECONDS)
def _now() -> None:
    house = studio.current()
    executors = house.executors.all()
    alive = [executor for executor in executors if executor.alive]
    counts = house.queue.counts()
    look.figures(
        {
            "executors alive": len(alive),
            "jobs waiting": counts.waiting,
            "jobs running": counts.running,
            "pictures in the gallery": house.gallery.search(per_page=1).total,
        }
    )
    if not alive:
        look.empty("No executor is running", "Start one with ./run_executor.sh", "power_off")
    if executors:
        look.table(
            ("Executor", "State", "Device", "Threads", "Draws", "Last seen"),
            (_row(house, executor) for executor in executors),
        )


def _retention() -> None:
    """How long results are kept, and what would go now."""
    retention = studio.current().retention
    if not retention.keep_days:
        st.caption("Everything is kept: no setting retention.keep_days says otherwise.")
        return
    going = retention.would_delete()
    st.html('<h2 class="title">What is kept</h2>')
    look.figures(
        {
            "days that results are kept": f"{retention.keep_days:g}",
            "results would go now": going.results,
            "failed or cancelled jobs would go": going.others,
            "of files with them": look.size(going.bytes),
        }
    )
    oldest = "" if going.oldest is None else f" The oldest that would go is of {going.oldest:%-d %b %Y}."
    st.caption(f"Starred results and samples are kept for ever.{oldest}")


def _row(house: Studio, executor: ExecutorStatus) -> tuple[str, ...]:
    return (
        f"{escape(executor.id)}<small>{escape(executor.host)} · process {executor.pid}</small>",
        _state(executor),
        escape(executor.device),
        str(executor.threads),
        escape(_prompt(house, executor.job_id)),
        look.ago(executor.seen_at),
    )


def _state(executor: ExecutorStatus) -> str:
    if not executor.alive:
        return '<span class="badge cancelled">gone</span>'
    if executor.trouble:
        return f'<span class="badge failed">in trouble</span><small>{escape(executor.trouble)}</small>'
    if executor.job_id:
        return '<span class="badge running">drawing</span>'
    return '<span class="badge succeeded">ready</span>'


def _prompt(house: Studio, job_id: str | None) -> str:
    try:
        return house.queue.get(job_id).prompt if job_id else "—"
    except JobNotFound:
        return "—"


_page()
