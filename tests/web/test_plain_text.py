"""What people write reaches the pages as text, in HTML and in Markdown alike."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from sqlalchemy import update
from streamlit.testing.v1 import AppTest

from db import writing
from db.tables import jobs, reports
from jobs.people import Role
from settings import ROOT
from tests.web.conftest import RULES
from tests.web.test_attacks import HOSTILE, Tags
from web.permissions import Caller
from web.plain_text import plain
from web.studio import Studio

pieces = st.sampled_from(
    [*"\\`*_{}[]()<>#+-.!|~$:&@=^/\"' \n1a", "www.", "http://", "evil.example", ":smile:", ":material/home:"]
    + ["javascript:", ":red[", "&lt;", "&#58;", "$x$", "```", "~~", "a@b.example", "<b>", "![x](y)", "[x]: y"]
)
MARKDOWN = MarkdownIt("gfm-like", {"linkify": False})
DANGEROUS = ("[a](javascript", "![b]", ":smile:", ":material/home:", " www.evil", "$x^2$", ":red[")
OWNER = Caller("ann", Role.ADMIN, RULES.rights_of(Role.ADMIN))


def words(text: str) -> list[str]:
    return re.sub(r"[\x00-\x1f\x7f-\x9f]", " ", text.replace("\u2060", "")).split()


@given(st.lists(pieces, max_size=12).map("".join) | st.text(max_size=40))
def test_markdown_shows_what_was_written_and_nothing_comes_of_it(text: str) -> None:
    (paragraph,) = [t for t in MARKDOWN.parse(f"x {plain(text)}") if t.type == "inline"]
    found = "".join(t.content for t in paragraph.children or [])
    assert {t.type for t in paragraph.children or []} <= {"text", "text_special"}
    assert words(found) == words(f"x {text}")


@pytest.mark.parametrize(
    "start", ["# a", "- a", "+ a", "> a", "1. a", "1) a", "---", "=", "    a", "| a |", "* a"]
)
def test_nothing_comes_of_how_a_line_begins(start: str) -> None:
    assert [t.type for t in MARKDOWN.parse(plain(start))] == ["paragraph_open", "inline", "paragraph_close"]


@pytest.mark.parametrize(
    "text",
    [
        *(":smile:", "::smile::", ":material/home:", "www.evil.example", "http://evil.example", "WWW.a.b"),
        *("a.b@evil.example", "ftp://x", ":+1:", ":red[x]", ":::x"),
    ],
)
def test_what_is_looked_for_in_text_after_markdown_is_not_found(text: str) -> None:
    """Icons, emojis and bare addresses are found by these patterns in what is text already."""
    shown = re.sub(r"\\(.)", r"\1", plain(text))
    assert not re.search(r":[\w+\-/]+:|(https?|ftp)://|www\.|\w@\w|:\w+\[", shown, re.IGNORECASE)


def texts(page: AppTest) -> list[str]:
    """All that the page gives to Markdown."""
    kinds = ("error", "info", "warning", "success", "toast", "markdown", "caption", "button")
    found: list[Any] = [element for kind in kinds for element in page.get(kind)]
    return [str(getattr(e, "label", None) or getattr(e, "value", "")) for e in found]


def visit(file: str, **query: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "web" / "main.py"), default_timeout=60)
    page.query_params.update(query)
    page.switch_page(file).run()
    assert not page.exception
    return page


@pytest.mark.parametrize(
    "file", ["generate.py", "gallery.py", "vote.py", "system.py", "account.py", "admin.py"]
)
def test_no_page_makes_more_of_what_people_write_than_text(
    file: str, house: Studio, client: TestClient, draw: Callable[[str], None]
) -> None:
    ids = []
    for prompt in ("harmless", "harmless too"):
        asked = {"prompt": prompt, "steps": 1, "width": 64, "height": 64, "seed": 1}
        (job,) = house.submit("vqgan_clip", asked, OWNER)
        draw(job.id)
        house.reports.add(job.id, "ben", prompt)
        ids.append(job.id)
    before = visit(file, job=ids[0])
    hostile = " ".join(HOSTILE)
    _write_everywhere(house, hostile)
    after = visit(file, job=ids[0])

    tags = [Tags(html.value).found for html in before.main.html]
    assert [Tags(html.value).found for html in after.main.html] == tags
    for text in texts(after):
        for dangerous in (
            "[a](javascript",
            "![b]",
            ":smile:",
            ":material/home:",
            " www.evil",
            "$x^2$",
            ":red[",
        ):
            assert dangerous not in text


def _write_everywhere(house: Studio, hostile: str) -> None:
    """Put it wherever people's words are kept, past all that might refuse it on the way."""
    with writing(house.gallery._engine) as connection:
        connection.execute(update(jobs).values(prompt=hostile))
        connection.execute(update(reports).values(reason=hostile))
