"""What people type becomes weighted parts and chapters, or one clear sentence."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guidance.prompts import Chapter, Part, parse_prompt


def test_a_plain_prompt_is_one_part_of_one_chapter() -> None:
    assert parse_prompt("a red circle") == (Chapter((Part("a red circle", 1.0),)),)


def test_parts_have_weights_and_chapters_follow_each_other() -> None:
    first, second = parse_prompt("a forest | oil painting:0.5 | people:-0.3 ^ a desert:2")
    assert first.parts == (Part("a forest", 1.0), Part("oil painting", 0.5), Part("people", -0.3))
    assert second.parts == (Part("a desert", 2.0),)


@pytest.mark.parametrize("prompt", ["a clock at 12:30", "a picture in 16:9", "warning: wet paint"])
def test_not_every_colon_is_a_weight(prompt: str) -> None:
    assert parse_prompt(prompt) == (Chapter((Part(prompt, 1.0),)),)


def test_what_is_wanted_comes_heaviest_first_without_what_is_not() -> None:
    (chapter,) = parse_prompt("oil painting:0.5 | a forest | people:-1")
    assert chapter.wanted == "a forest, oil painting"


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a forest |", "is empty"),
        ("^ a forest", "is empty"),
        (":2", "is empty"),
        ("people:-1", "only says what not to draw"),
        ("a forest ^ people:-1", "only says what not to draw"),
        ("a forest:99", "goes from -10 to 10"),
    ],
)
def test_what_cannot_be_meant_is_refused(prompt: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        parse_prompt(prompt)


words = st.text("abc xyz", min_size=1).map(str.strip).filter(bool)
weights = st.floats(0.01, 10).map(lambda weight: round(weight, 3))


@given(st.lists(st.lists(st.tuples(words, weights), min_size=1), min_size=1))
def test_whatever_is_written_is_read_back(story: list[list[tuple[str, float]]]) -> None:
    written = " ^ ".join(" | ".join(f"{text}:{weight}" for text, weight in chapter) for chapter in story)
    assert [[(p.text, p.weight) for p in chapter.parts] for chapter in parse_prompt(written)] == story


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert all(part.text for chapter in parse_prompt(text) for part in chapter.parts)
