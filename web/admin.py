"""Admin: what people report, and who is here."""

from html import escape

import streamlit as st

from jobs.people import Member
from jobs.reports import Reported
from web import look, moderation, studio
from web.permissions import Right
from web.person import current_caller
from web.studio import Studio


def _page() -> None:
    house, caller = studio.current(), current_caller()
    look.heading("Admin", "What people report, and who is here.")
    if not caller.may(Right.SETTLE_REPORTS):
        look.refuse(caller, Right.SETTLE_REPORTS)
        return
    _reports(house)
    st.html('<h2 class="title">Members</h2>')
    _members(house)


def _reports(house: Studio) -> None:
    reported = house.reports.open()
    if not reported:
        look.empty("Nothing is reported", "What people report of a picture is shown here.", "task_alt")
        return
    with st.grid(3, min_column_width=260, gap=16):
        for one in reported:
            with st.container(key=f"card-reported-{one.job.id}"):
                _card(house, one)


def _card(house: Studio, one: Reported) -> None:
    job = one.job
    reasons = "".join(f'<p class="reason">{escape(r.reason)}</p>' for r in one.reports)
    about = f'<p class="caption">{escape(job.prompt)}</p>{look.byline(job)}{moderation.mark(job)}'
    st.html(f"{look.picture(job)}{about}{reasons}")
    with st.container(key=f"actions-{job.id}", horizontal=True):
        moderation.offer_hiding(job)
        if st.button("Settle", key=f"settle-{job.id}", icon=":material/check:"):
            current_caller().require(Right.SETTLE_REPORTS)
            house.reports.settle(job.id)
            st.rerun()
        moderation.offer_deletion(job)


def _members(house: Studio) -> None:
    everybody = house.members.all()
    if not everybody:
        look.empty("Nobody has signed in", "Whoever signs in is listed here with their role.", "group")
        return
    look.table(("Name", "Email", "Role", "First seen", "Last seen"), map(_row, everybody))


def _row(member: Member) -> tuple[str, ...]:
    who = member.identity
    name = f"{escape(who.name)}<small>{escape(who.issuer)} {escape(who.subject)}</small>"
    role = studio.current().rules.role_of(who)
    seen = look.ago(member.created_at), look.ago(member.seen_at)
    return (name, escape(who.email) or "—", f'<span class="badge">{role}</span>', *seen)


_page()
