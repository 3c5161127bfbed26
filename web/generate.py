"""Text-to-Image Generation: ask for a picture, and watch it form."""

from collections.abc import Mapping
from functools import partial
from typing import Any, TypeVar

import streamlit as st

from jobs.batch import MAX_PICTURES
from web import branches, form, look, preset_bar, recipe_upload, studio
from web.permissions import Caller, Right
from web.person import current_caller
from web.plain_text import plain
from web.problems import STATUS
from web.stage import show_stage
from web.studio import Generator, Studio, Weights

T = TypeVar("T", Generator, Weights)

OWN_JOBS_SHOWN = 8
OWN_JOBS_REFRESH_SECONDS = 2.0


def _page() -> None:
    house, caller = studio.current(), current_caller()
    person = caller.person
    look.heading(
        "Text-to-Image Generation", "Type what the picture should show, and watch it form step by step."
    )
    _take_over_parameters(house, caller)
    with st.container(key="desk"):
        ask, stage, settings = (st.container(key=f"card-{name}") for name in ("ask", "stage", "settings"))
    with settings:
        generator, weights, parameters = _settings(house, caller)
    with ask:
        _ask(house, caller, generator, weights, parameters)
    with stage:
        show_stage(house, caller)
    _own_jobs(person)


def _take_over_parameters(house: Studio, caller: Caller) -> None:
    """Fill the form from the finished picture that a link names, if one led here."""
    try:
        branch = branches.asked_for(house, caller)
    except tuple(STATUS) as problem:
        st.toast(plain(str(problem)))
        return
    if branch is not None:
        _fill(house, branch.generator, branch.weights, branch.prompt, branch.parameters)


def _fill(house: Studio, name: str, weights: str, prompt: str, parameters: Mapping[str, Any]) -> None:
    generator = house.generators[name]
    defaults = next(w.defaults for w in generator.weights if w.name == weights)
    st.session_state["prompt"] = prompt
    st.session_state["generator"] = name
    st.session_state[f"{name}.weights"] = weights
    form.fill(generator.spec, defaults, parameters, _scope(name, weights))


def _settings(house: Studio, caller: Caller) -> tuple[Generator, Weights, dict[str, Any]]:
    st.html('<h2 class="title">Parameters</h2>')
    with st.grid(2, min_column_width=130, gap=(12, 16)):
        generator = _select("Generator", house.generators, key="generator")
        choices = {weights.name: weights for weights in generator.weights}
        if not choices:
            st.error("No weights are installed: `python -m weights list` shows what there is.")
            st.stop()
        weights = _select("Weights", choices, key=f"{generator.name}.weights")
    st.caption(f"{generator.summary} The weights {weights.title} know {weights.draws}.")
    bar = st.container(key="presets", horizontal=True)
    scope = _scope(generator.name, weights.name)
    parameters = form.draw(generator.spec, weights.defaults, scope)
    _tell_memory(house, generator, {"weights": weights.name, **parameters})
    with bar:
        preset_bar.show(house, caller, generator, weights, parameters, scope)
    if caller.may(Right.DRAW):
        recipe_upload.show(house, partial(_fill, house))
    return generator, weights, parameters


def _tell_memory(house: Studio, generator: Generator, parameters: Mapping[str, Any]) -> None:
    need = house.memory_need(generator.name, parameters)
    if need is not None:
        st.caption(f"Needs about {look.gigabytes(need)} of memory.")


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
    house: Studio, caller: Caller, generator: Generator, weights: Weights, parameters: Mapping[str, Any]
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
    count, pressed = _generate_button(caller)
    if pressed:
        _submit(house, caller, generator, {"prompt": prompt, "weights": weights.name, **parameters}, count)
    _tell_unknown_words(house, weights, prompt)
    if weights.examples:
        st.pills("Try one", weights.examples, key="example", on_change=_take_example, wrap=True)


def _generate_button(caller: Caller) -> tuple[int, bool]:
    """How many pictures, and whether they are asked for now."""
    if not caller.may(Right.DRAW):
        look.refuse(caller, Right.DRAW)
        return 1, False
    with st.container(key="generate", horizontal=True, vertical_alignment="bottom"):
        pressed = st.button("Generate", type="primary", width="stretch", shortcut="Mod+Enter")
        count = st.number_input(
            "Pictures",
            min_value=1,
            max_value=MAX_PICTURES,
            key="count",
            help="So many at once, with seeds that follow each other.",
            persist_state="session",
            width=120,
        )
    return count, pressed


def _submit(
    house: Studio, caller: Caller, generator: Generator, parameters: Mapping[str, Any], count: int
) -> None:
    try:
        submitted = house.submit(generator.name, parameters, caller, count)
    except tuple(STATUS) as problem:
        st.error(plain(str(problem)), icon=":material/error:")
    else:
        st.query_params["job"] = submitted[0].id


def _tell_unknown_words(house: Studio, weights: Weights, prompt: str) -> None:
    unknown = house.unknown_words(weights, prompt)
    if unknown:
        words = ", ".join(f"“{plain(word)}”" for word in unknown)
        st.info(
            f"The weights {weights.title} do not know {words}. They know {weights.draws}.",
            icon=":material/lightbulb:",
        )


def _take_example() -> None:
    if st.session_state["example"]:
        st.session_state["prompt"] = st.session_state["example"]
        st.session_state["example"] = None


@st.fragment(run_every=OWN_JOBS_REFRESH_SECONDS)
def _own_jobs(person: str) -> None:
    own = studio.current().queue.search(submitter=person, per_page=OWN_JOBS_SHOWN).items
    if len(own) < 2:
        return
    st.html('<h2 class="title">Your jobs</h2>')
    with st.grid(min_column_width=230, gap=12):
        for job in own:
            with st.container(key=f"card-own-{job.id}", horizontal=True):
                st.html(look.row(job))
                if st.button("Show", key=f"show-{job.id}", type="tertiary"):
                    st.query_params["job"] = job.id
                    st.rerun()


def _scope(generator: str, weights: str) -> str:
    return f"{generator}.{weights}"


_page()
