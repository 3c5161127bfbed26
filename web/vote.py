"""Vote Images: which of two results fits its prompt better."""

import contextlib
from html import escape

import streamlit as st

from jobs.queue import JobNotFound
from jobs.records import GroupStanding, Job, Standing, Verdict
from jobs.votes import AlreadyVoted
from web import look, studio
from web.permissions import Caller, Right
from web.person import current_caller
from web.plain_text import plain
from web.studio import Studio

RESULTS_SHOWN = 10


def _page() -> None:
    house, caller = studio.current(), current_caller()
    look.heading("Vote Images", "Which of the two pictures fits its own prompt better?")
    pair = _pair(house, caller)
    if not caller.may(Right.VOTE):
        look.refuse(caller, Right.VOTE)
    elif pair is None:
        _nothing_to_vote(house)
    else:
        _ballot(*pair)
    _standings(house)


def _pair(house: Studio, caller: Caller) -> tuple[Job, Job] | None:
    """The pair on the page stays there until it is judged."""
    shown = st.session_state.get("pair")
    if shown is not None:
        with contextlib.suppress(JobNotFound):
            return house.job(shown[0], caller), house.job(shown[1], caller)
    pair = house.votes.next_pair(caller.person)
    st.session_state["pair"] = pair and (pair[0].id, pair[1].id)
    return pair


def _nothing_to_vote(house: Studio) -> None:
    if house.gallery.search(per_page=1).total < 2:
        look.empty("Two pictures are needed", "Generate some, then come back and compare.", "how_to_vote")
        st.page_link("generate.py", label="Generate a picture", icon=":material/brush:")
    else:
        look.empty("You have judged every pair", "New pictures bring new pairs. Thank you!", "task_alt")


def _ballot(left: Job, right: Job) -> None:
    with st.container(key="ballot"):
        for side, job, key, verdict in (
            ("left", left, "1", Verdict.LEFT),
            ("right", right, "2", Verdict.RIGHT),
        ):
            with st.container(key=f"card-{side}"):
                st.html(f'{look.picture(job)}<p class="quote">{escape(job.prompt)}</p>')
                _choice("This one fits better", key, left, right, verdict)
    with st.container(key="neither", horizontal=True, horizontal_alignment="center"):
        _choice("Neither fits", "0", left, right, Verdict.NEITHER)


def _choice(label: str, shortcut: str, left: Job, right: Job, verdict: Verdict) -> None:
    st.button(
        label,
        key=f"vote-{verdict.value}",
        shortcut=shortcut,
        width="content" if verdict is Verdict.NEITHER else "stretch",
        type="tertiary" if verdict is Verdict.NEITHER else "secondary",
        on_click=_cast,
        args=(left.id, right.id, verdict),
    )


def _cast(left_id: str, right_id: str, verdict: Verdict) -> None:
    st.session_state["pair"] = None
    caller = current_caller()
    caller.require(Right.VOTE)
    try:
        studio.current().votes.cast(caller.person, left_id, right_id, verdict)
    except (AlreadyVoted, JobNotFound) as problem:
        st.toast(plain(str(problem)))


def _standings(house: Studio) -> None:
    standings = house.votes.standings()
    if not standings.results:
        return
    st.html('<h2 class="title">Standings</h2>')
    look.table(
        ("", "", "Prompt", "Rating", "Won", "Lost", "Neither"),
        (_result_row(place, s) for place, s in enumerate(standings.results[:RESULTS_SHOWN], 1)),
    )
    st.html('<h2 class="title">Generators and weights</h2>')
    look.table(
        ("Generator", "Weights", "Rating", "Won", "Lost", "Neither"), map(_group_row, standings.groups)
    )


def _result_row(place: int, standing: Standing) -> tuple[str, ...]:
    job = standing.job
    thumb = f'<img class="thumb" src="{look.image_url(job)}" alt="" loading="lazy">'
    return (f"{place}", thumb, escape(job.prompt), *_scores(standing))


def _group_row(standing: GroupStanding) -> tuple[str, ...]:
    return (escape(standing.generator), escape(standing.weights), *_scores(standing))


def _scores(standing: Standing | GroupStanding) -> tuple[str, ...]:
    return f"{standing.rating:.0f}", f"{standing.wins}", f"{standing.losses}", f"{standing.neither}"


_page()
