from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pydantic import BaseModel, Field
from sqlalchemy import Engine

from jobs import presets
from jobs.presets import Preset, PresetNotFound, PresetRefused, Presets, manner_of


@pytest.fixture
def kept(engine: Engine) -> Presets:
    return Presets(engine)


def preset(name: str = "fine", weights: str = "sandbox", **parameters: Any) -> Preset:
    return Preset(name, "vqgan_clip", weights, parameters)


def names(found: list[Preset]) -> list[str]:
    return [preset.name for preset in found]


def test_everyone_sees_their_own_by_name(kept: Presets) -> None:
    kept.save("ann", preset("quick", steps=10))
    kept.save("ann", preset("fine", steps=100))
    kept.save("bob", preset("other"))

    assert names(kept.of("ann")) == ["fine", "quick"]
    assert kept.of("ann")[1].parameters == {"steps": 10}
    assert names(kept.of("bob")) == ["other"]


def test_a_name_is_kept_once_for_each_generator_and_weights(kept: Presets) -> None:
    first = kept.save("ann", preset(steps=10))
    again = kept.save("ann", preset("  fine\n", steps=20))
    kept.save("ann", preset(weights="others", steps=30))
    kept.save("bob", preset(steps=40))

    assert again.number == first.number
    assert [(p.weights, p.parameters["steps"]) for p in kept.of("ann")] == [("sandbox", 20), ("others", 30)]
    assert kept.of("bob")[0].parameters == {"steps": 40}


def test_a_name_saved_twice_at_the_same_time_is_kept_once(kept: Presets) -> None:
    with ThreadPoolExecutor(4) as threads:
        saved = list(threads.map(lambda steps: kept.save("ann", preset(steps=steps)), range(8)))

    assert {one.number for one in saved} == {one.number for one in kept.of("ann")}
    assert names(kept.of("ann")) == ["fine"]


def test_only_ones_own_are_deleted(kept: Presets) -> None:
    mine, theirs = kept.save("ann", preset()), kept.save("bob", preset())
    assert mine.number is not None
    assert theirs.number is not None

    kept.delete("ann", mine.number)

    for number in (mine.number, theirs.number, 99):
        with pytest.raises(PresetNotFound, match="You have no such preset"):
            kept.delete("ann", number)
    assert kept.of("ann") == []
    assert names(kept.of("bob")) == ["fine"]


@pytest.mark.parametrize("name", ["", "  \n", "\x00", "x" * 61])
def test_a_name_has_letters_but_not_too_many(kept: Presets, name: str) -> None:
    with pytest.raises(PresetRefused, match="has 1 to 60 letters"):
        kept.save("ann", preset(name))


def test_nobody_fills_the_database(kept: Presets, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "MAX_A_PERSON", 3)
    for number in range(presets.MAX_A_PERSON):
        kept.save("ann", preset(f"{number}"))

    with pytest.raises(PresetRefused, match="as many as one may"):
        kept.save("ann", preset("one more"))
    kept.save("ann", preset("0", steps=1))


def test_a_preset_keeps_the_manner_and_not_what_is_shown() -> None:
    class Spec(BaseModel):
        prompt: str = "a circle"
        weights: str = "sandbox"
        seed: int = 7
        steps: int = 0
        start: str | None = Field(None, json_schema_extra={"image": True})
        like: tuple[str, ...] = Field(("one",), json_schema_extra={"image": True})

    assert manner_of(Spec()) == {"steps": 0, "like": ["one"]}
