"""Previous Inferences: every finished picture, newest first."""

import math
from html import escape

import streamlit as st

from jobs.gallery import Stars
from jobs.queue import JobNotFound
from jobs.records import Job
from jobs.reports import MAX_REASON
from web import branches, form, look, moderation, studio
from web.permissions import Caller, Right
from web.person import current_caller
from web.plain_text import plain
from web.problems import STATUS, NotAllowed
from web.studio import Studio

PER_PAGE = 12


def _page() -> None:
    house, caller = studio.current(), current_caller()
    look.heading("Previous Inferences", "Every finished picture, newest first. Click one to see it form.")
    text, generator, weights, starred = _filters(house)
    page = st.session_state.get("page", 1)
    starred_by = caller.person if starred else None
    found = house.gallery.search(
        text, generator, weights, page, PER_PAGE, starred_by=starred_by, **house.seen_by(caller)
    )
    pages = math.ceil(found.total / PER_PAGE)
    if not found.total:
        _nothing(filtered=bool(text or generator or weights or starred))
        return
    if not found.items:  # the last picture of the last page was deleted
        st.session_state["page"] = pages
        st.rerun()
    stars = house.gallery.stars([job.id for job in found.items], caller.person)
    with st.grid(4, min_column_width=150, gap=16):
        for job in found.items:
            _card(job, stars[job.id])
    if pages > 1:
        with st.container(key="pages", horizontal=True, horizontal_alignment="center"):
            st.pagination(pages, key="page")
    if "job" in st.query_params:
        _open_details(house, caller, st.query_params["job"])


def _filters(house: Studio) -> tuple[str, str | None, str | None, bool]:
    generators = house.generators
    weights = {w.name: w.title for g in generators.values() for w in g.weights}
    with st.container(key="filters", horizontal=True, vertical_alignment="bottom"):
        text = st.text_input(
            "Search",
            key="text",
            bind="query-params",
            icon=":material/search:",
            placeholder="Words of the prompt",
            on_change=_first_page,
        )
        generator = st.selectbox(
            "Generator",
            list(generators),
            index=None,
            format_func=lambda name: generators[name].title,
            placeholder="All generators",
            on_change=_first_page,
        )
        chosen = st.selectbox(
            "Weights",
            list(weights),
            index=None,
            format_func=lambda name: weights[name],
            placeholder="All weights",
            on_change=_first_page,
        )
        starred = st.toggle("Starred by me", key="starred", on_change=_first_page)
    return text or "", generator, chosen, starred


def _first_page() -> None:
    st.session_state["page"] = 1


def _nothing(*, filtered: bool) -> None:
    if filtered:
        look.empty("Nothing matches", "Search for other words, or clear the filters.", "search_off")
        return
    look.empty("No pictures yet", "The first one that you generate will hang here.", "photo_library")
    st.page_link("generate.py", label="Generate a picture", icon=":material/brush:")


def _card(job: Job, stars: Stars) -> None:
    with st.container(key=f"card-result-{job.id}"):
        st.html(f'{look.picture(job)}<p class="caption">{escape(job.prompt)}</p>')
        with st.container(key=f"foot-{job.id}", horizontal=True):
            st.html(look.byline(job) + moderation.mark(job))
            _star(job, stars, f"star-{job.id}")
            st.button("Details", key=f"details-{job.id}", on_click=_choose, args=(job.id,), type="tertiary")


def _star(job: Job, stars: Stars, key: str, name: str = "") -> None:
    """A star to give or to take back; starred pictures are kept."""
    st.button(
        f"{'★' if stars.mine else '☆'} {name} {stars.count or ''}".replace("  ", " ").strip(),
        key=key,
        help="Take the star away" if stars.mine else "Star it, and it is kept",
        on_click=_turn_star,
        args=(job.id, stars.mine),
        type="tertiary",
    )


def _turn_star(job_id: str, mine: bool) -> None:
    house, caller = studio.current(), current_caller()
    turn = house.gallery.unstar if mine else house.gallery.star
    try:
        caller.require(Right.REPORT)
        turn(job_id, caller.person)
    except (JobNotFound, NotAllowed) as problem:
        st.toast(plain(str(problem)))


def _choose(job_id: str | None = None) -> None:
    if job_id is None:
        st.query_params.pop("job", None)
    else:
        st.query_params["job"] = job_id


def _open_details(house: Studio, caller: Caller, job_id: str) -> None:
    try:
        job = house.job(job_id, caller)
    except JobNotFound:
        _choose(None)
        return
    if job.result is not None:
        _details(job)


@st.dialog("Picture", width="medium", on_dismiss=_choose)
def _details(job: Job) -> None:
    facts = look.facts(form.described(job, studio.current().generators.get(job.generator)))
    left, right = st.columns(2, gap="medium")
    with left:
        st.html(look.picture(job) + look.downloads(job))
    with right:
        st.html(f'<p class="quote">{escape(job.prompt)}</p>{look.byline(job)}{moderation.mark(job)}{facts}')
        stars = studio.current().gallery.stars([job.id], current_caller().person)
        _star(job, stars[job.id], f"star-open-{job.id}", "Starred" if stars[job.id].mine else "Star")
        branches.links(job)
        _offer_more(job, current_caller())


def _offer_more(job: Job, caller: Caller) -> None:
    with st.container(key=f"more-{job.id}", horizontal=True):
        if job.submitter == caller.person or caller.may(Right.MODERATE):
            moderation.offer_deletion(job)
        if caller.may(Right.MODERATE):
            moderation.offer_hiding(job)
        if caller.may(Right.REPORT) and job.submitter != caller.person:
            _offer_report(job)


def _offer_report(job: Job) -> None:
    with st.popover("Report", icon=":material/flag:"), st.form(f"report-{job.id}", border=False):
        reason = st.text_area("What is wrong with it?", max_chars=MAX_REASON, height=96)
        if not st.form_submit_button("Report it", type="primary"):
            return
        house, caller = studio.current(), current_caller()
        try:
            caller.require(Right.REPORT)
            house.reports.add(house.job(job.id, caller).id, caller.person, reason)
        except tuple(STATUS) as problem:
            st.error(plain(str(problem)), icon=":material/error:")
        else:
            st.success("Thank you: an admin will look at it.", icon=":material/check:")


_page()
