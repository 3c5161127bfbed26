from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generators.registry import GENERATORS, SpecError, generators, parse_spec
from weights import catalogue
from weights.files import record

PROMPT = "a red circle on a blue background"


def bounded_numbers() -> list[tuple[str, str, Mapping[str, Any]]]:
    """(generator, parameter, JSON schema) of every whole number that a spec bounds on both sides."""
    return [
        (name, parameter, schema)
        for name, entry in GENERATORS.items()
        for parameter, schema in entry.spec.model_json_schema()["properties"].items()
        if schema.get("type") == "integer"
    ]


def allowed(schema: Mapping[str, Any]) -> range:
    highest = schema["maximum"] if "maximum" in schema else schema["exclusiveMaximum"] - 1
    return range(schema["minimum"], highest + 1, schema.get("multipleOf", 1))


@pytest.mark.parametrize(("generator", "parameter", "schema"), bounded_numbers())
@given(data=st.data())
def test_a_number_within_its_bounds_is_kept(
    generator: str, parameter: str, schema: Mapping[str, Any], data: st.DataObject
) -> None:
    value = data.draw(st.sampled_from(allowed(schema)))

    assert getattr(parse_spec(generator, {"prompt": PROMPT, parameter: value}), parameter) == value


@pytest.mark.parametrize(("generator", "parameter", "schema"), bounded_numbers())
@given(data=st.data())
def test_a_number_out_of_its_bounds_is_named_with_its_value(
    generator: str, parameter: str, schema: Mapping[str, Any], data: st.DataObject
) -> None:
    bounds = allowed(schema)
    value = data.draw(st.integers(max_value=bounds[0] - 1) | st.integers(min_value=bounds[-1] + 1))

    with pytest.raises(SpecError, match=f"^'{parameter}': .* but it was ") as refusal:
        parse_spec(generator, {"prompt": PROMPT, parameter: value})
    assert str(value)[:40] in str(refusal.value)


@given(prompt=st.text())
def test_any_text_is_either_a_prompt_or_refused_with_a_sentence(prompt: str) -> None:
    try:
        accepted, refused = parse_spec("vqgan_clip", {"prompt": prompt}).prompt, None
    except SpecError as refusal:
        accepted, refused = None, str(refusal)

    if accepted is None:
        assert refused.endswith(".")
    else:
        assert 0 < len(accepted) <= 500
        assert "\0" not in accepted


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({}, "'prompt' is missing."),
        ({"prompt": None}, "'prompt' is missing."),
        ({"prompt": ""}, "The prompt is empty: type what the picture should show."),
        ({"prompt": " \n\t "}, "The prompt is empty: type what the picture should show."),
        (
            {"prompt": "x" * 501},
            "'prompt': string should have at most 500 characters, but it was 501 characters long.",
        ),
        ({"prompt": 5}, "'prompt': input should be a valid string, but it was 5."),
        (
            {"prompt": PROMPT, "width": 100},
            "'width': input should be a multiple of 16, but it was 100.",
        ),
        (
            {"prompt": PROMPT, "steps": "many"},
            "'steps': input should be a valid integer, unable to parse string as an integer, "
            "but it was 'many'.",
        ),
        (
            {"prompt": PROMPT, "init": "scribble"},
            "'init': input should be 'prior', 'noise', 'pixels' or 'gradient', but it was 'scribble'.",
        ),
        (
            {"prompt": PROMPT, "learning_rate": float("nan")},
            "'learning_rate': input should be less than or equal to 1, but it was nan.",
        ),
        (
            {"prompt": PROMPT, "weights": "borrowed"},
            f"VQGAN + CLIP has no weights 'borrowed'; choose one of "
            f"{', '.join(w.name for w in GENERATORS['vqgan_clip'].weights)}.",
        ),
        (
            {"prompt": PROMPT, "colour": "red"},
            f"There is no parameter 'colour'; choose among "
            f"{', '.join(GENERATORS['vqgan_clip'].spec.model_fields)}.",
        ),
    ],
)
def test_a_bad_request_gets_one_sentence(parameters: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(SpecError) as refusal:
        parse_spec("vqgan_clip", parameters)

    assert str(refusal.value) == sentence


def test_each_of_several_problems_gets_its_sentence() -> None:
    with pytest.raises(SpecError) as refusal:
        parse_spec("vqgan_clip", {"prompt": "", "steps": -2})

    assert "The prompt is empty" in str(refusal.value)
    assert "'steps'" in str(refusal.value)


def test_an_unknown_generator_is_answered_with_the_known_ones() -> None:
    with pytest.raises(SpecError, match="There is no generator 'crystal ball'; choose one of .*vqgan_clip"):
        parse_spec("crystal ball", {"prompt": PROMPT})


def test_the_prompt_is_kept_without_the_space_around_it() -> None:
    assert parse_spec("vqgan_clip", {"prompt": f"  {PROMPT}\n"}).prompt == PROMPT


def test_a_missing_seed_is_drawn_when_the_spec_is_parsed() -> None:
    seeds = {parse_spec("vqgan_clip", {"prompt": PROMPT}).seed for _ in range(4)}

    assert len(seeds) > 1
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_stored_parameters_make_the_same_spec_again() -> None:
    spec = parse_spec("vqgan_clip", {"prompt": PROMPT})

    assert parse_spec("vqgan_clip", spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("generator", "weights"),
    [(name, w.name) for name, entry in GENERATORS.items() for w in entry.weights],
)
def test_every_set_of_weights_gives_defaults_that_its_spec_accepts(generator: str, weights: str) -> None:
    spec = parse_spec(generator, {"prompt": PROMPT, "weights": weights})

    defaults = catalogue.entry(weights).defaults
    assert {name: getattr(spec, name) for name in defaults} == dict(defaults)


def test_weights_defaults_stand_between_what_is_asked_and_the_specs_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sandbox = catalogue.entries()[0]
    large = sandbox.model_copy(update={"name": "large", "defaults": {"width": 304, "steps": 300}})
    monkeypatch.setattr(catalogue, "entries", lambda: (sandbox, large))

    spec = parse_spec("vqgan_clip", {"prompt": PROMPT, "weights": "large", "steps": 10})

    assert spec.model_dump() == {
        **parse_spec("vqgan_clip", {"prompt": PROMPT, "seed": spec.seed}).model_dump(),
        "weights": "large",
        "width": 304,
        "steps": 10,
    }


def test_the_first_set_of_weights_is_chosen_when_none_is_asked_for() -> None:
    for name, entry in GENERATORS.items():
        assert parse_spec(name, {"prompt": PROMPT}).weights == entry.weights[0].name


OFFICIAL = [w.name for w in GENERATORS["vqgan_clip"].known_weights if w.name != "sandbox"]


def pretend_to_install(name: str, weights_dir: Path) -> None:
    """Put empty files where the set's belong."""
    entry = catalogue.entry(name)
    for file in entry.files:
        path = weights_dir / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        record(path, "", "nowhere")


def test_only_installed_weights_are_offered(tmp_path: Path) -> None:
    generator = generators(tmp_path)["vqgan_clip"]
    assert generator.weights == ()

    pretend_to_install("vqgan-imagenet-1024", tmp_path)

    assert [weights.name for weights in generator.weights] == ["vqgan-imagenet-1024"]
    assert parse_spec("vqgan_clip", {"prompt": PROMPT}, tmp_path).weights == "vqgan-imagenet-1024"


def test_weights_that_are_not_installed_are_refused_with_how_to_get_them() -> None:
    with pytest.raises(SpecError) as refusal:
        parse_spec("vqgan_clip", {"prompt": PROMPT, "weights": "vqgan-coco"})

    assert str(refusal.value) == (
        "The weights 'vqgan-coco' are not installed: run python -m weights download vqgan-coco."
    )


def test_without_any_weights_the_way_to_some_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="No weights .* are installed: python -m weights list"):
        parse_spec("vqgan_clip", {"prompt": PROMPT}, tmp_path)


@pytest.mark.parametrize("weights", OFFICIAL)
def test_official_weights_bring_larger_pictures_and_start_from_noise(weights: str, tmp_path: Path) -> None:
    pretend_to_install(weights, tmp_path)

    spec = parse_spec("vqgan_clip", {"prompt": PROMPT, "weights": weights}, tmp_path).model_dump()

    assert {name: spec[name] for name in ("width", "height", "cutouts", "init")} == {
        "width": 304,
        "height": 304,
        "cutouts": 32,
        "init": "noise",
    }


@pytest.mark.parametrize("generator", GENERATORS)
def test_the_presets_of_weights_can_be_drawn(generator: str) -> None:
    for weights in GENERATORS[generator].weights:
        for name, parameters in weights.presets.items():
            spec = parse_spec(generator, {**parameters, "prompt": PROMPT, "weights": weights.name})
            assert spec.model_dump(mode="json").items() >= parameters.items(), name
