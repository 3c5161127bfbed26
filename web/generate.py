"""Text-to-Image Generation: ask for a picture, and watch it form."""

from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeVar

import altair as alt
import pandas as pd
import streamlit as st

from jobs.artifacts import ArtifactNotFound
from jobs.queue import JobNotFound
from jobs.records import Job, JobState
from web import form, look, studio
from web.person import current_person
from web.problems import STATUS
from web.studio import Generator, Studio, Weights

T = TypeVar("T", Generator, Weights)

REFRESH_SECONDS = 0.5
OWN_JOBS_SHOWN = 8


def _page() -> None:
    house, person = studio.current(), current_person()
    look.heading(
        "Text-to-Image Generation", "Type what the picture should show, and watch it form step by step."
    )
    _take_over_parameters(house)
    with st.container(key="desk"):
        ask, stage, settings = (st.container(key=f"card-{name}") for name in ("ask", "stage", "settings"))
    with settings:
        generator, weights, parameters = _settings(house)
    with ask:
        _ask(house, person, generator, weights, parameters)
    with stage:
        _stage(house, person)
    _own_jobs(house, person)


def _take_over_parameters(house: Studio) -> None:
    """Fill the form from the job that a link "use these parameters" names."""
    job_id = st.query_params.pop("like", None)
    if job_id is None:
        return
    job = house.queue.get(job_id)
    st.session_state["prompt"] = job.prompt
    st.session_state["generator"] = job.generator
    st.session_state[f"{job.generator}.weights"] = job.weights
    form.fill(job.parameters, _scope(job.generator, job.weights))


def _settings(house: Studio) -> tuple[Generator, Weights, dict[str, Any]]:
    st.html('<h2 class="title">Parameters</h2>')
    with st.grid(2, min_column_width=130, gap=(12, 16)):
        generator = _select("Generator", house.generators, key="generator")
        choices = {weights.name: weights for weights in generator.weights}
        weights = _select("Weights", choices, key=f"{generator.name}.weights")
    st.caption(f"{generator.summary} The weights {weights.title} know {weights.draws}.")
    wanted = form.parameters(generator.spec, weights.defaults)
    return generator, weights, form.draw(wanted, _scope(generator.name, weights.name))


def _select(label: str, choices: Mapping[str, T], key: str) -> T:
    name = st.selectbox(
        label,
        list(choices),
        format_func=lambda name: choices[name].title,
        key=key,
        persist_state="session",
        filter_mode=None,
    )
    return choices[name]


def _ask(
    house: Studio, person: str, generator: Generator, weights: Weights, parameters: Mapping[str, Any]
) -> None:
    limit = generator.spec.model_json_schema()["properties"]["prompt"]["maxLength"]
    prompt = st.text_area(
        "Prompt",
        key="prompt",
        height=96,
        max_chars=limit,
        placeholder=weights.examples[0] if weights.examples else None,
        persist_state="session",
    )
    if st.button("Generate", type="primary", width="stretch", shortcut="Mod+Enter"):
        _submit(house, person, generator, {"prompt": prompt, "weights": weights.name, **parameters})
    _tell_unknown_words(house, weights, prompt)
    if weights.examples:
        st.pills("Try one", weights.examples, key="example", on_change=_take_example, wrap=True)


def _submit(house: Studio, person: str, generator: Generator, parameters: Mapping[str, Any]) -> None:
    try:
        job = house.submit(generator.name, parameters, person)
    except tuple(STATUS) as problem:
        st.error(str(problem), icon=":material/error:")
    else:
        st.query_params["job"] = job.id


def _tell_unknown_words(house: Studio, weights: Weights, prompt: str) -> None:
    unknown = house.unknown_words(weights, prompt)
    if unknown:
        words = ", ".join(f"“{word}”" for word in unknown)
        st.info(
            f"The weights {weights.title} do not know {words}. They know {weights.draws}.",
            icon=":material/lightbulb:",
        )


def _take_example() -> None:
    if st.session_state["example"]:
        st.session_state["prompt"] = st.session_state["example"]
        st.session_state["example"] = None


def _stage(house: Studio, person: str) -> None:
    job = _chosen_job(house, person)
    if job is None:
        look.empty(
            "Your picture forms here", "Type a prompt, or pick an example, and press Generate.", "brush"
        )
    elif job.state.is_final:
        _finished(house, job)
    else:
        _forming(job.id, mine=job.submitter == person)


def _chosen_job(house: Studio, person: str) -> Job | None:
    """The job that the address names, or else the person's newest, those in progress first."""
    if "job" in st.query_params:
        try:
            return house.queue.get(st.query_params["job"])
        except JobNotFound:
            del st.query_params["job"]
    own = house.queue.active(person) or house.queue.search(submitter=person, per_page=1).items
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


def _frame(house: Studio, job: Job) -> None:
    """The newest frame, sent with the page: asked for by address, it could be gone before it came."""
    if job.progress is not None and job.progress.frame is not None:
        with suppress(ArtifactNotFound):  # it is gone when the job ended a moment ago
            frame = b64encode(house.artifacts.read(job.progress.frame)).decode()
            st.image(f"data:image/jpeg;base64,{frame}", width="stretch", alt=job.prompt)
            return
    st.html('<div class="blank"></div>')


def _waiting(house: Studio, job: Job) -> None:
    executors = house.executors.alive()
    if not executors:
        st.warning("No executor is running: start one with ./run_executor.sh", icon=":material/power_off:")
    elif all(executor.trouble for executor in executors):
        st.warning(executors[0].trouble or "", icon=":material/warning:")
    position = house.queue.position(job.id)
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


def _finished(house: Studio, job: Job) -> None:
    _headline(job)
    if job.result is None:
        _unfinished(job)
        return
    st.html(look.picture(job) + look.downloads(job))
    _losses(job)
    with st.expander("Parameters of this picture"):
        st.html(look.facts(form.described(job, house.generators.get(job.generator))))


def _unfinished(job: Job) -> None:
    if job.state is JobState.FAILED:
        st.error(job.error or "The job failed.", icon=":material/error:")
    else:
        look.empty("Cancelled", "Nothing was kept. Change the prompt and generate again.", "cancel")


def _headline(job: Job) -> None:
    st.html(f'<div class="headline">{look.badge(job.state)}<p>{look.text(job.prompt)}</p></div>')


def _own_jobs(house: Studio, person: str) -> None:
    own = house.queue.search(submitter=person, per_page=OWN_JOBS_SHOWN).items
    if len(own) < 2:
        return
    st.html('<h2 class="title">Your jobs</h2>')
    with st.grid(min_column_width=230, gap=12):
        for job in own:
            with st.container(key=f"card-own-{job.id}", horizontal=True):
                st.html(look.row(job))
                st.button("Show", key=f"show-{job.id}", on_click=_show, args=(job.id,), type="tertiary")


def _show(job_id: str) -> None:
    st.query_params["job"] = job_id


def _scope(generator: str, weights: str) -> str:
    return f"{generator}.{weights}"


_page()
