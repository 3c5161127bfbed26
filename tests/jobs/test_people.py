"""Members, tokens, reports and the word filter."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from db import reading
from db.tables import api_tokens
from jobs.gallery import Gallery, NotYours
from jobs.moderation import Moderation, PromptRefused, moderation, words_filter
from jobs.people import Identity, Members, Role
from jobs.queue import JobNotFound, Queue
from jobs.records import Job, Verdict
from jobs.reports import AlreadyReported, ReportRefused, Reports
from jobs.tokens import MAX_A_PERSON, TokenNotFound, TokenRefused, Tokens
from jobs.votes import Votes
from settings import ModerationSettings, SettingsError
from store import ArtifactStore
from tests.jobs.conftest import TurnableClock

ANN = Identity("https://idp.example", "1234", "Ann", "ann@example.org")
Succeed = Callable[..., Job]


@pytest.fixture
def tokens(engine: Engine, clock: TurnableClock) -> Tokens:
    return Tokens(engine, clock=clock)


@pytest.fixture
def reports(engine: Engine, clock: TurnableClock) -> Reports:
    return Reports(engine, clock=clock)


def test_who_signs_in_again_is_the_same_person(engine: Engine, clock: TurnableClock) -> None:
    members = Members(engine, clock=clock)
    members.greet(ANN, Role.MEMBER)
    first = clock.now
    clock.turn(60)
    renamed = Identity(ANN.issuer, ANN.subject, "Ann B.", "b@example.org")
    members.greet(renamed, Role.ADMIN)

    (member,) = members.all()
    assert members.get(ANN.person) == member
    assert (member.identity, member.role) == (renamed, Role.ADMIN)
    assert (member.created_at, member.seen_at) == (first, clock.now)
    assert members.get("somebody") is None


def test_the_same_subject_of_another_issuer_is_somebody_else() -> None:
    others = [Identity("https://other.example", "1234"), Identity("https://idp.example", "12345")]
    assert len({ANN.person, *(other.person for other in others)}) == 3


def test_a_token_is_shown_once_and_only_its_hash_is_kept(tokens: Tokens, engine: Engine) -> None:
    token, secret = tokens.make("ann", "  my \n script ", ["draw", "read"])
    assert (token.name, token.scopes, token.used_at) == ("my script", ("read", "draw"), None)
    assert secret.startswith("sk_")
    assert len(secret) >= 46, "256 bits"
    with reading(engine) as connection:
        (row,) = connection.execute(select(api_tokens)).all()
    assert secret not in str(row)
    assert secret.removeprefix("sk_") not in str(row)


def test_a_token_is_valid_until_it_expires_or_is_revoked(tokens: Tokens, clock: TurnableClock) -> None:
    brief, brief_secret = tokens.make("ann", "brief", ["read"], timedelta(days=1))
    lasting, lasting_secret = tokens.make("ann", "lasting", ["read"])
    shown = tokens.shown(brief_secret)
    assert shown is not None
    assert shown.person == "ann"
    clock.turn(86_401)
    assert tokens.shown(brief_secret) is None
    assert [token.id for token in tokens.of("ann")] == [lasting.id]
    with pytest.raises(TokenNotFound):
        tokens.revoke("ben", lasting.id)
    assert tokens.shown(lasting_secret) is not None
    tokens.revoke("ann", lasting.id)
    assert tokens.shown(lasting_secret) is None
    with pytest.raises(TokenNotFound):
        tokens.revoke("ann", lasting.id)


def test_the_last_use_is_noted_about_a_minute_exact(tokens: Tokens, clock: TurnableClock) -> None:
    _, secret = tokens.make("ann", "script", ["read"])
    tokens.shown(secret)
    first = clock.now
    clock.turn(30)
    tokens.shown(secret)
    assert tokens.of("ann")[0].used_at == first
    clock.turn(31)
    tokens.shown(secret)
    assert tokens.of("ann")[0].used_at == clock.now


@pytest.mark.parametrize(
    ("name", "scopes", "lasting"),
    [
        ("", ["read"], None),
        ("x" * 61, ["read"], None),
        ("a\x00b", ["read"], None),
        ("x", [], None),
        ("x", ["read", "everything"], None),
        ("x", ["read"], timedelta(0)),
    ],
)
def test_a_token_that_cannot_be_is_refused(
    tokens: Tokens, name: str, scopes: list[str], lasting: timedelta | None
) -> None:
    with pytest.raises(TokenRefused):
        tokens.make("ann", name, scopes, lasting)


def test_a_person_has_so_many_tokens_and_no_more(tokens: Tokens) -> None:
    made = [tokens.make("ann", f"{number}", ["read"])[0] for number in range(MAX_A_PERSON)]
    with pytest.raises(TokenRefused, match="revoke one"):
        tokens.make("ann", "one more", ["read"])
    tokens.revoke("ann", made[0].id)
    tokens.make("ann", "one more", ["read"])


def test_a_report_is_open_until_an_admin_settles_it(reports: Reports, succeed: Succeed) -> None:
    one, other = succeed("ann", seed=1), succeed("ann", seed=2)
    reports.add(other.id, "ben", "rude\n\x00words")
    reports.add(other.id, "cem", "rude")
    reports.add(one.id, "ben", "wrong")
    assert [(r.job.id, [told.reason for told in r.reports]) for r in reports.open()] == [
        (other.id, ["rude words", "rude"]),
        (one.id, ["wrong"]),
    ]
    with pytest.raises(AlreadyReported):
        reports.add(other.id, "ben", "again")
    reports.settle(other.id)
    assert [r.job.id for r in reports.open()] == [one.id]


def test_only_results_are_reported_with_a_reason(
    reports: Reports, ask: Callable[..., Job], succeed: Succeed
) -> None:
    result, waiting = succeed(), ask()
    with pytest.raises(JobNotFound):
        reports.add(waiting.id, "ben", "rude")
    for reason in (" ", "x" * 501):
        with pytest.raises(ReportRefused):
            reports.add(result.id, "ben", reason)


def test_what_is_hidden_is_in_no_search_vote_or_standing(
    engine: Engine, reports: Reports, queue: Queue, store: ArtifactStore, succeed: Succeed
) -> None:
    hidden, shown, third = (succeed("ann", seed=seed) for seed in range(3))
    gallery, votes = Gallery(engine, store), Votes(engine)
    votes.cast("ben", hidden.id, shown.id, Verdict.LEFT)
    votes.cast("ben", shown.id, third.id, Verdict.LEFT)
    reports.hide(hidden.id, hidden=True)

    everyone, owner, admin = {"person": "ben"}, {"person": "ann"}, {"all_hidden": True}
    assert [gallery.search(**who).total for who in (everyone, owner, admin)] == [2, 3, 3]
    assert len(gallery.search(**everyone).items) == 2
    assert queue.search(person="ben", all_hidden=False).total == 2
    pair = votes.next_pair("dora")
    assert pair is not None
    assert hidden.id not in {job.id for job in pair}
    assert {s.job.id for s in votes.standings().results} == {shown.id, third.id}
    with pytest.raises(JobNotFound):
        votes.cast("dora", hidden.id, shown.id, Verdict.LEFT)
    result = queue.get(hidden.id).result
    assert result is not None
    assert result.hidden

    reports.hide(hidden.id, hidden=False)
    assert gallery.search(**everyone).total == 3
    with pytest.raises(JobNotFound):
        reports.hide("nothing", hidden=True)


def test_an_admin_deletes_what_others_may_not(engine: Engine, store: ArtifactStore, succeed: Succeed) -> None:
    job = succeed("ann")
    gallery = Gallery(engine, store)
    with pytest.raises(NotYours):
        gallery.delete(job.id, "ben")
    gallery.delete(job.id, None)
    assert gallery.search().total == 0


def test_the_waiting_jobs_of_several_people_are_counted(queue: Queue, ask: Callable[..., Job]) -> None:
    for submitter in ("ann", "ann", "ben", "cem"):
        ask(submitter)
    queue.claim("executor")
    assert queue.waiting_of(["ann", "ben", "nobody"]) == 2
    assert queue.waiting_of([]) == 0


@pytest.mark.parametrize(
    ("prompt", "refused"),
    [
        ("a bomb in a party", True),
        ("a BOMB", True),
        ("a ｂｏｍｂ", True),
        ("a bo\u00admb", True),
        ("a bômb", True),
        ("a _bomb_", True),
        ("a bomb2", True),
        ("bombastic", False),
        ("a big   bad\twolf", True),
        ("a big badwolf", False),
        ("eine Straße", True),
        ("eine STRASSE", True),
        ("start the party", False),
        ("", False),
    ],
)
def test_words_are_matched_as_a_whole_however_they_are_written(prompt: str, refused: bool) -> None:
    object_to = words_filter(["bomb", "Big bad wolf", "strasse", "art", "", "  "])
    assert (object_to(prompt) is not None) is refused


def test_every_text_of_a_job_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = tmp_path / "words.txt"
    words.write_text("# what nobody wants\nbomb # a remark\n\n")
    (tmp_path / "my_rules.py").write_text(
        "def object_to(prompt):\n    return 'Draw no dogs: draw cats.' if 'dog' in prompt else None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    check = moderation(ModerationSettings(str(words), "my_rules:object_to")).check
    check({"prompt": "a cat", "steps": 3})
    with pytest.raises(PromptRefused, match="in other words"):
        check({"prompt": "a bomb"})
    with pytest.raises(PromptRefused, match="in other words"):
        check({"prompt": "a cat", "others": [{"text": "bomb"}]})
    with pytest.raises(PromptRefused, match="Draw no dogs: draw cats."):
        check({"prompt": "a dog"})
    Moderation().check({"prompt": "a bomb"})


@pytest.mark.parametrize(
    "settings",
    [
        ModerationSettings(words_file="/nowhere/words.txt"),
        ModerationSettings(hook="no_such_module:check"),
        ModerationSettings(hook="json:no_such_function"),
        ModerationSettings(hook="json"),
        ModerationSettings(hook=":"),
    ],
)
def test_what_cannot_be_used_is_named(settings: ModerationSettings) -> None:
    with pytest.raises(SettingsError, match=r"The setting 'moderation\.(words_file|hook)' cannot be used"):
        moderation(settings)
