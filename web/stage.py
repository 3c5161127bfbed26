"""The stage: one job, from its place in the queue to its picture, kept up to date while it forms."""

from base64 import b64encode
from contextlib import suppress
from html import escape

import altair as alt
import pandas as pd
import streamlit as st

from jobs.queue import JobNotFound
from jobs.records import Job, JobState
from store import ArtifactNotFound
from web import branches, form, history, look, studio
from web.permissions import Caller
from web.person import current_caller
from web.plain_text import plain
from web.problems import STATUS
from web.studio import Studio

REFRESH_SECONDS = 0.5


def show_stage(house: Studio, caller: Caller) -> None:
    """The job that the address names, or else the person's newest, those in progress first."""
    job = _chosen_job(house, caller)
    if job is None:
        look.empty(
            "Your picture forms here", "Type a prompt, or pick an example, and press Generate.", "brush"
        )
    elif job.state.is_final:
        _finished(house, job, mine=job.submitter == caller.person)
    else:
        _forming(job.id, mine=job.submitter == caller.person)


def _chosen_job(house: Studio, caller: Caller) -> Job | None:
    if "job" in st.query_params:
        try:
            return house.job(st.query_params["job"], caller)
        except JobNotFound:
            del st.query_params["job"]
    own = house.queue.active(caller.person)
    own = own or house.queue.search(submitter=caller.person, per_page=1).items
    return own[0] if own else None


@st.fragment(run_every=REFRESH_SECONDS)
def _forming(job_id: str, *, mine: bool) -> None:
    house = studio.current()
    job = house.queue.get(job_id)
    if job.state.is_final:
        st.rerun()
    with st.container(key=f"head-{job.id}", horizontal=True):
        _headline(job)
        if mine and st.button("Cancel", disabled=job.cancel_requested):
            house.queue.cancel(job.id)
            st.rerun(scope="fragment")
    if job.state is JobState.QUEUED:
        _waiting(house, job)
    else:
        _progress(house, job)
    _frame(house, job)
    _losses(job)
    history.show(house, job.id)


def _frame(house: Studio, job: Job) -> None:
    """The newest frame, sent with the page: asked for by address, it could be gone before it came."""
    if job.progress is not None and job.progress.frame is not None:
        with suppress(ArtifactNotFound):  # it is gone when the job ended a moment ago
            frame = b64encode(house.artifacts.read(job.progress.frame)).decode()
            st.image(f"data:image/jpeg;base64,{frame}", width="stretch", alt=job.prompt)
            return
    st.html('<div class="blank"></div>')


def _waiting(house: Studio, job: Job) -> None:
    if house.queue.paused():
        st.info("The queue is paused: it goes on when it is resumed.", icon=":material/pause_circle:")
    executors = house.executors.alive()
    if not executors:
        st.warning("No executor is running: start one with ./run_executor.sh", icon=":material/power_off:")
    elif all(executor.trouble for executor in executors):
        st.warning(plain(executors[0].trouble or ""), icon=":material/warning:")
    position = house.queue.position(job.id)
    if position.obstacle is not None:
        st.warning(plain(position.obstacle), icon=":material/warning:")
    ahead = "You are next." if not position.ahead else f"{position.ahead} ahead of you."
    eta = "" if position.eta_seconds is None else f" Ready in about {look.duration(position.eta_seconds)}."
    st.progress(0.0, text=ahead + eta)


def _progress(house: Studio, job: Job) -> None:
    progress = job.progress
    if job.cancel_requested:
        st.progress(0.0, text="Stops at the next step …")
    elif progress is None:
        st.progress(0.0, text="The executor is getting ready …")
    else:
        done = progress.step / progress.steps if progress.steps else 1.0
        left = house.queue.position(job.id).eta_seconds
        rest = "" if left is None else f" · about {look.duration(left)} left"
        st.progress(done, text=f"Step {progress.step} of {progress.steps}{rest}")


def _losses(job: Job) -> None:
    history = job.progress.history if job.progress else []
    if len(history) < 2:
        return
    points = pd.DataFrame(history).melt("step", var_name="name", value_name="value").dropna()
    chart = (
        alt.Chart(points)
        .mark_line(strokeWidth=2, interpolate="monotone")
        .encode(
            x=alt.X("step:Q", title=None, axis=alt.Axis(grid=False, tickCount=5)),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=3)),
            color=alt.Color("name:N", title=None, legend=alt.Legend(orient="top", offset=4, padding=0)),
            tooltip=["name", "step", alt.Tooltip("value", format=".4g")],
        )
        .properties(background="transparent", padding=0)
    )
    st.altair_chart(chart, height=190, key="losses")


def _finished(house: Studio, job: Job, *, mine: bool) -> None:
    _headline(job)
    if job.result is None:
        _unfinished(house, job, mine=mine)
        history.show(house, job.id)
        return
    st.html(look.picture(job) + look.downloads(job))
    branches.links(job)
    _losses(job)
    with st.expander("Parameters of this picture"):
        st.html(look.facts(form.described(job, house.generators.get(job.generator))))
    history.show(house, job.id)


def _unfinished(house: Studio, job: Job, *, mine: bool) -> None:
    if job.state is JobState.FAILED:
        st.error(plain(job.error or "The job failed."), icon=":material/error:")
        if mine and st.button("Try again", icon=":material/replay:"):
            _try_again(house, job)
    else:
        look.empty("Cancelled", "Nothing was kept. Change the prompt and generate again.", "cancel")


def _try_again(house: Studio, job: Job) -> None:
    try:
        house.again(job.id, current_caller())
    except tuple(STATUS) as problem:
        st.error(plain(str(problem)), icon=":material/error:")
    else:
        st.query_params["job"] = job.id
        st.rerun()


def _headline(job: Job) -> None:
    st.html(f'<div class="headline">{look.badge(job.state)}<p>{escape(job.prompt)}</p></div>')
