"""Account: who you are here, and the tokens by which programs act for you."""

from datetime import timedelta
from html import escape

import streamlit as st

from jobs.tokens import MAX_NAME, Token
from web import look, sign_in, studio
from web.permissions import SCOPES, Caller, Openness, Right
from web.person import current_caller, current_identity
from web.plain_text import plain
from web.problems import STATUS
from web.studio import Studio

LASTING = {
    "30 days": timedelta(days=30),
    "90 days": timedelta(days=90),
    "a year": timedelta(days=365),
    "until I revoke it": None,
}
SCOPE_NAMES = {
    "read": "read: see pictures, jobs and the queue",
    "draw": "draw: have pictures drawn, cancel and delete your own",
    "vote": "vote: vote, star and report",
    "manage": "manage: what admins do, if you are one",
}


def _page() -> None:
    house, caller = studio.current(), current_caller()
    look.heading("Account", "Who you are here, and the tokens by which programs act for you.")
    with st.container(key="card-you"):
        _you(house, caller)
    if caller.may(Right.OWN_TOKENS):
        st.html('<h2 class="title">Tokens</h2>')
        with st.container(key="card-new-token"):
            _new_token(house, caller)
        _tokens(house, caller)


def _you(house: Studio, caller: Caller) -> None:
    who = current_identity()
    name = "On your own machine" if house.rules.openness is Openness.OWN_MACHINE else "Not signed in"
    st.html(
        f'<div class="headline"><p>{escape(who.name if who else name)}</p>'
        f'<span class="badge">{caller.role}</span></div>'
    )
    facts = {"Email": who.email or "not verified by your provider"} if who else {}
    st.html(look.facts({**facts, "You may": ", ".join(sorted(caller.rights))}))
    if house.rules.openness is not Openness.SIGN_IN:
        return
    if who is not None:
        st.button("Sign out", icon=":material/logout:", on_click=st.logout)
        return
    for provider in sign_in.providers():
        label = f"Sign in with {plain(provider)}" if provider else "Sign in"
        st.button(label, key=f"login-{provider}", type="primary", on_click=st.login, args=(provider,))


def _new_token(house: Studio, caller: Caller) -> None:
    with st.form("new-token", border=False, clear_on_submit=True):
        with st.container(key="token-fields", horizontal=True, vertical_alignment="bottom"):
            name = st.text_input("What is it for?", max_chars=MAX_NAME, placeholder="my script")
            lasts = st.selectbox("It lasts", list(LASTING), filter_mode=None)
        scopes = st.multiselect(
            "It may", list(SCOPES), default=["read", "draw"], format_func=lambda scope: SCOPE_NAMES[scope]
        )
        if not st.form_submit_button("Make a token", type="primary"):
            return
    try:
        caller.require(Right.OWN_TOKENS)
        _, secret = house.tokens.make(caller.person, name, scopes, LASTING[lasts])
    except tuple(STATUS) as problem:
        st.error(plain(str(problem)), icon=":material/error:")
    else:
        st.success("Copy it now: it is not shown again.", icon=":material/key:")
        st.code(secret, language=None)


def _tokens(house: Studio, caller: Caller) -> None:
    for token in house.tokens.of(caller.person):
        with st.container(key=f"card-own-token-{token.id}", horizontal=True):
            st.html(_about(token))
            if st.button("Revoke", key=f"revoke-{token.id}", type="tertiary"):
                house.tokens.revoke(caller.person, token.id)
                st.rerun()


def _about(token: Token) -> str:
    used = f"used {look.ago(token.used_at)}" if token.used_at else "never used"
    until = f"until {token.expires_at:%-d %b %Y}" if token.expires_at else "until revoked"
    scopes = " ".join(token.scopes)
    return (
        f'<div class="row"><div><p>{escape(token.name)}</p>'
        f'<span class="byline">{escape(scopes)} · {until} · {used}</span></div></div>'
    )


_page()
