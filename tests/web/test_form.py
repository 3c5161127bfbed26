"""The form follows the spec: what is written there is what a person sees and may enter."""

import io
from enum import StrEnum
from typing import Annotated, Any

import pytest
from PIL import Image
from pydantic import BaseModel, Field, StringConstraints, create_model, model_validator
from streamlit.testing.v1 import AppTest

from generators.registry import GENERATORS, parse_spec
from tests.web.conftest import SOMEONE
from web import form
from web.studio import Studio

Reference = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]


class Ground(StrEnum):
    PAPER = "paper"
    CANVAS = "canvas"


class Brush(BaseModel):
    prompt: str = Field(title="Prompt")
    weights: str = Field(title="Weights")
    seed: int = Field(ge=0, lt=100, title="Seed", description="Chance.")
    width: int = Field(
        128, ge=64, le=256, multiple_of=16, title="Width", json_schema_extra={"unit": "pixels"}
    )
    height: int = Field(
        128, ge=64, le=256, title="Height", json_schema_extra={"derived_unless": {"square": False}}
    )
    square: bool = Field(False, title="Square")
    rate: float = Field(0.05, gt=0, le=1, title="Rate", json_schema_extra={"group": "Fine"})
    ground: Ground = Field(Ground.PAPER, title="Ground", json_schema_extra={"group": "Fine"})
    limit: int | None = Field(None, ge=1, le=9, title="Limit", json_schema_extra={"group": "Fine"})
    style: str = Field("oil", title="Style")
    start: Reference | None = Field(
        None, title="Start", json_schema_extra={"group": "Pictures", "image": True}
    )
    where: Reference | None = Field(
        None, title="Where", json_schema_extra={"group": "Pictures", "image": True, "mask": True}
    )
    like: tuple[Reference, ...] = Field(
        (), max_length=2, title="Like", json_schema_extra={"group": "Pictures", "image": True}
    )

    @model_validator(mode="before")
    @classmethod
    def _as_high_as_wide(cls, given: Any) -> Any:
        return {**given, "height": given["width"]} if given.get("square") else given


USUAL = {
    "seed": None,
    "width": 128,
    "height": 128,
    "square": False,
    "rate": 0.05,
    "ground": "paper",
    "limit": None,
    "style": "oil",
    "start": None,
    "where": None,
    "like": [],
}


def test_a_parameter_carries_title_help_unit_bounds_and_step() -> None:
    shown = {p.name: p for p in form.parameters(Brush, {})}
    seed, width, rate = shown["seed"], shown["width"], shown["rate"]
    assert (seed.help, seed.default, seed.minimum, seed.maximum) == ("Chance.", None, 0, 99)
    assert (width.label, width.minimum, width.maximum, width.step) == ("Width · pixels", 64, 256, 16)
    assert (rate.group, rate.minimum, rate.maximum, rate.step) == ("Fine", 0, 1, 0.01)
    assert [(p.name, p.kind) for p in shown.values() if p.kind != "integer"] == [
        ("square", "boolean"),
        ("rate", "number"),
        ("ground", "choice"),
        ("style", "string"),
        ("start", "image"),
        ("where", "mask"),
        ("like", "images"),
    ]


def test_what_may_be_null_is_optional_and_keeps_its_bounds() -> None:
    limit = next(p for p in form.parameters(Brush, {}) if p.name == "limit")
    assert (limit.optional, limit.default, limit.minimum, limit.maximum) == (True, None, 1, 9)


@pytest.mark.parametrize(
    ("bounds", "default", "step"),
    [
        ((0, 1), 0.0, 0.01),
        ((0.5, 2), 1.0, 0.01),
        ((0, 100), 0.0, 1),
        ((-180, 180), 0.0, 10),
        ((0, 1), 0.001, 0.001),
    ],
)
def test_a_step_suits_range_and_default(bounds: tuple[float, float], default: float, step: float) -> None:
    lowest, highest = bounds
    spec = create_model("Spec", amount=(float, Field(default, ge=lowest, le=highest)))
    assert form.parameters(spec, {})[0].step == step


def test_the_defaults_of_the_weights_win() -> None:
    width = form.parameters(Brush, {"width": 192})[1]
    assert width.default == 192


@pytest.mark.parametrize("generator", GENERATORS.values(), ids=lambda generator: generator.name)
def test_the_untouched_form_of_every_generator_is_accepted(generator: Any) -> None:
    for weights in generator.weights:
        shown = form.parameters(generator.spec, weights.defaults)
        assert {p.name for p in shown} | form.ELSEWHERE == set(generator.spec.model_fields)
        values = {p.name: p.default for p in shown}
        spec = parse_spec(generator.name, {"prompt": "a star", "weights": weights.name, **values})
        assert spec.prompt == "a star"


def test_values_come_back_by_name() -> None:
    page = AppTest.from_function(_two_forms).run()
    assert page.session_state["values"] == USUAL
    page.number_input(key="first.width").set_value(160).run()
    assert page.session_state["values"]["width"] == 160


def test_fields_of_a_group_are_folded_away_and_changes_are_counted() -> None:
    page = AppTest.from_function(_two_forms).run()
    assert [group.label for group in page.expander] == ["Fine", "Pictures"]
    assert "first.rate" in {number.key for number in page.expander[0].number_input}
    assert "first.width" not in {number.key for group in page.expander for number in group.number_input}
    page.number_input(key="first.rate").set_value(0.5).run()
    assert [group.label for group in page.expander] == ["Fine · 1 changed", "Pictures"]


def test_what_follows_from_other_fields_is_shown_and_cannot_be_typed() -> None:
    page = AppTest.from_function(_two_forms).run()
    page.number_input(key="first.width").set_value(192).run()
    assert not page.number_input(key="first.height").disabled
    page.toggle(key="first.square").set_value(True).run()
    height = page.number_input(key="first.height")
    assert (height.disabled, height.value) == (True, 192)
    page.number_input(key="first.width").set_value(256).run()
    assert page.session_state["values"]["height"] == 256
    page.toggle(key="first.square").set_value(False).run()
    assert not page.number_input(key="first.height").disabled


def test_other_weights_have_a_form_and_defaults_of_their_own() -> None:
    page = AppTest.from_function(_two_forms).run()
    page.number_input(key="first.width").set_value(160).run()
    page.toggle(key="other").set_value(True).run()
    assert page.session_state["values"]["width"] == 192
    page.toggle(key="other").set_value(False).run()
    assert page.session_state["values"]["width"] == 160


def test_what_a_preset_does_not_name_stays_as_it_was_typed_a_moment_ago() -> None:
    """Typed and chosen before any run of the page has seen what was typed."""
    page = AppTest.from_function(_form_with_a_preset).run()
    page.number_input(key="changed.seed").set_value(7)
    page.button(key="choose").click().run()
    assert (page.session_state["values"]["seed"], page.session_state["values"]["width"]) == (7, 192)


def test_a_form_is_filled_from_a_result_and_opens_what_is_not_as_usual() -> None:
    page = AppTest.from_function(_filled_form).run()
    page.number_input(key="filled.height").set_value(99).run()
    page.button(key="fill").click().run()
    assert page.session_state["values"] == USUAL | {"seed": 9, "width": 64, "ground": "canvas"}
    assert [group.proto.expanded for group in page.expander] == [True, False]


@pytest.mark.parametrize(
    "values", [{"width": 8192}, {"width": "wide"}, {"ground": "stone"}, {"square": "no"}, {"gone": 1}]
)
def test_what_the_form_cannot_hold_becomes_the_default(values: dict[str, Any]) -> None:
    page = AppTest.from_function(_filled_form)
    page.session_state["wanted"] = values
    page.run()
    page.button(key="fill").click().run()
    assert not page.exception
    assert page.session_state["values"] == USUAL


def test_pictures_are_handed_in_and_removed(house: Studio) -> None:
    page = AppTest.from_function(_two_forms).run()
    uploader = next(u for u in page.file_uploader if u.label == "Start")
    uploader.upload("start.png", png("teal"), "image/png").run()
    start = page.session_state["values"]["start"]
    assert house.uploads.pixels(start)[0, 0].tolist() == [0, 128, 128]
    assert f"/api/uploads/{start}" in " ".join(html.value for html in page.html)
    page.button(key="first.start.remove").click().run()
    assert page.session_state["values"]["start"] is None


def test_several_pictures_are_kept_in_order_up_to_the_most(house: Studio) -> None:
    page = AppTest.from_function(_two_forms).run()
    for colour in ("teal", "red"):
        uploader = next(u for u in page.file_uploader if u.label == "Like")
        uploader.upload(f"{colour}.png", png(colour), "image/png").run()
    teal, red = page.session_state["values"]["like"]
    assert house.uploads.pixels(red)[0, 0].tolist() == [255, 0, 0]
    assert [u.label for u in page.file_uploader] == ["Start"], "no more can be handed in"
    page.button(key="first.like.0.remove").click().run()
    assert page.session_state["values"]["like"] == [red]


def test_what_is_no_picture_is_told(house: Studio) -> None:
    page = AppTest.from_function(_two_forms).run()
    page.file_uploader[0].upload("start.png", b"no picture", "image/png").run()
    assert page.error[0].value.startswith("This is no picture that can be read")
    assert page.session_state["values"]["start"] is None


def test_facts_tell_seed_size_and_what_is_not_as_usual(house: Studio) -> None:
    generator = GENERATORS["vqgan_clip"]
    asked = {
        "prompt": "a star",
        "seed": 3,
        "steps": 77,
        "start_image": house.uploads.add(png("red")).reference,
    }
    (job,) = house.submit("vqgan_clip", asked, SOMEONE)
    told = form.described(job, generator)
    assert set(told) == {
        *("Generator", "Weights", "Seed", "Steps", "Width · pixels", "Height · pixels", "Start image")
    }
    assert (told["Seed"], told["Steps"]) == (3, 77)
    assert f"/api/uploads/{asked['start_image']}" in told["Start image"]


def png(colour: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(file, "PNG")
    return file.getvalue()


def _two_forms() -> None:
    import streamlit as st

    from tests.web.test_form import Brush
    from web import form

    other = st.toggle("Other weights", key="other")
    defaults = {"width": 192} if other else {}
    st.session_state["values"] = form.draw(Brush, defaults, "second" if other else "first")


def _form_with_a_preset() -> None:
    from functools import partial

    import streamlit as st

    from tests.web.test_form import Brush
    from web import form

    preset = {"width": 192}
    choose = partial(form.fill, Brush, {}, preset, "changed", others_stay=True)
    st.button("Choose", key="choose", on_click=choose)
    st.session_state["values"] = form.draw(Brush, {}, "changed")


def _filled_form() -> None:
    import streamlit as st

    from tests.web.test_form import Brush
    from web import form

    wanted = st.session_state.get("wanted", {"seed": 9, "width": 64, "ground": "canvas"})
    st.button("Fill", key="fill", on_click=lambda: form.fill(Brush, {}, wanted, "filled"))
    st.session_state["values"] = form.draw(Brush, {}, "filled")
