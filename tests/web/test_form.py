"""The form follows the spec: what is written there is what a person sees and may enter."""

from typing import Any

import pytest
from pydantic import BaseModel, Field
from streamlit.testing.v1 import AppTest

from generators.registry import GENERATORS, parse_spec
from web import form

PIXELS: dict[str, Any] = {"unit": "pixels"}


class Brush(BaseModel):
    prompt: str = Field(title="Prompt")
    weights: str = Field(title="Weights")
    seed: int = Field(ge=0, lt=100, title="Seed", description="Chance.")
    width: int = Field(
        128, ge=64, le=256, multiple_of=16, title="Width", json_schema_extra={"unit": "pixels"}
    )
    rate: float = Field(0.05, gt=0, le=1, title="Rate", json_schema_extra={"advanced": True})
    mirrored: bool = Field(False, title="Mirrored")
    style: str = Field("oil", title="Style")


def test_a_parameter_carries_title_help_unit_bounds_and_step() -> None:
    seed, width, rate, mirrored, style = form.parameters(Brush, {})
    assert (seed.help, seed.default, seed.minimum, seed.maximum) == ("Chance.", None, 0, 99)
    assert (width.label, width.minimum, width.maximum, width.step) == ("Width · pixels", 64, 256, 16)
    assert (rate.advanced, rate.minimum, rate.maximum, rate.step) == (True, 0, 1, 0.01)
    assert [p.kind for p in (width, rate, mirrored, style)] == ["integer", "number", "boolean", "string"]


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
    assert page.session_state["values"] == {
        "seed": None,
        "width": 128,
        "rate": 0.05,
        "mirrored": False,
        "style": "oil",
    }
    page.number_input(key="first.width").set_value(160).run()
    assert page.session_state["values"]["width"] == 160


def test_other_weights_have_a_form_and_defaults_of_their_own() -> None:
    page = AppTest.from_function(_two_forms).run()
    page.number_input(key="first.width").set_value(160).run()
    page.toggle(key="other").set_value(True).run()
    assert page.session_state["values"]["width"] == 192
    page.toggle(key="other").set_value(False).run()
    assert page.session_state["values"]["width"] == 160


def test_a_form_can_be_filled_from_a_result() -> None:
    page = AppTest.from_function(_filled_form).run()
    assert page.session_state["values"] == {
        "seed": 9,
        "width": 64,
        "rate": 0.05,
        "mirrored": True,
        "style": "oil",
    }


def _two_forms() -> None:
    import streamlit as st

    from tests.web.test_form import Brush
    from web import form

    other = st.toggle("Other weights", key="other")
    wanted = form.parameters(Brush, {"width": 192} if other else {})
    st.session_state["values"] = form.draw(wanted, "second" if other else "first")


def _filled_form() -> None:
    import streamlit as st

    from tests.web.test_form import Brush
    from web import form

    form.fill({"seed": 9, "width": 64, "mirrored": True}, "filled")
    st.session_state["values"] = form.draw(form.parameters(Brush, {}), "filled")
