"""The form of a generator, derived from its spec: a parameter is written once, in the spec."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import streamlit as st
from pydantic import BaseModel, ValidationError

from jobs.records import Job
from web import image_field, look, mask_canvas
from web.studio import Generator

ELSEWHERE = frozenset({"prompt", "weights"})
ALWAYS_TOLD = frozenset({"seed", "width", "height"})
PICTURES = frozenset({"image", "images", "mask"})
OPENED = "opened groups"
"""In the session: how often the form was filled, and which groups that opened."""
MOST_BUTTONS = 3
"""More choices than that are a list that opens."""
ANYTHING = {"prompt": "-", "weights": "-", "seed": 0}
"""Stands for what the form does not hold where the spec derives a value."""


@dataclass(frozen=True)
class Parameter:
    """One field of a spec as a person sees it.

    ``default`` None means that it may be left empty: then it is drawn at random, or where it is ``optional``,
    not used. It is derived from others unless each field that ``derived_unless`` names has the value there.
    """

    name: str
    title: str
    help: str
    kind: str
    default: Any
    unit: str = ""
    group: str = ""
    optional: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: float = 1
    most: int = 1
    derived_unless: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.title} · {self.unit}" if self.unit else self.title


def parameters(spec: type[BaseModel], defaults: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The fields of ``spec`` in its order; ``defaults`` (a set of weights' own) win over the spec's."""
    schema = spec.model_json_schema()
    return tuple(
        _parameter(name, _resolved(described, schema), defaults)
        for name, described in schema["properties"].items()
        if name not in ELSEWHERE
    )


def draw(spec: type[BaseModel], defaults: Mapping[str, Any], scope: str) -> dict[str, Any]:
    """Show the form of ``spec``, its groups folded away; returns the values by name.

    ``scope`` tells apart the forms of different generators and weights, each keeping what was typed.
    """
    wanted = parameters(spec, defaults)
    _derive(spec, wanted, scope)
    values = _draw_all([p for p in wanted if not p.group], wanted, scope)
    filling, opened = st.session_state.get(_key(scope, OPENED), (0, ()))
    for group in dict.fromkeys(p.group for p in wanted if p.group):
        inside = [p for p in wanted if p.group == group]
        label = _group_label(group, inside, scope)
        with st.expander(label, expanded=group in opened, key=f"{_key(scope, group)}.{filling}"):
            values |= _draw_all(inside, wanted, scope)
    return values


def fill(
    spec: type[BaseModel],
    defaults: Mapping[str, Any],
    values: Mapping[str, Any],
    scope: str,
    *,
    others_stay: bool = False,
) -> None:
    """Put ``values`` into the form that ``draw`` shows next, defaults where it cannot hold them.

    What ``values`` does not name gets its default, or with ``others_stay`` keeps what a person entered, also
    where no run of the page has seen that yet. Groups in which something differs from its default are opened.
    """
    wanted = parameters(spec, defaults)
    for parameter in wanted:
        if parameter.name in values or not others_stay:
            st.session_state[_key(scope, parameter.name)] = _fitting(parameter, values)
    filling, _ = st.session_state.get(_key(scope, OPENED), (0, ()))
    st.session_state[_key(scope, OPENED)] = filling + 1, {p.group for p in wanted if _is_changed(p, scope)}


def described(job: Job, generator: Generator | None) -> dict[str, Any]:
    """What made a job's picture, by the names that the form gives: seed, size, and what is not as usual."""
    defaults = {} if generator is None else _defaults_of(generator, job.weights)
    wanted = {} if generator is None else {p.name: p for p in parameters(generator.spec, defaults)}
    asked = {
        wanted[name].label if name in wanted else name: _told(value, wanted.get(name))
        for name, value in job.parameters.items()
        if name in ALWAYS_TOLD or name not in wanted or value != wanted[name].default
    }
    made = {} if job.result is None else {"Seconds": job.result.seconds, **job.result.numbers}
    named = {"Generator": job.generator if generator is None else generator.title, "Weights": job.weights}
    return named | asked | made


def _parameter(name: str, described: Mapping[str, Any], defaults: Mapping[str, Any]) -> Parameter:
    default = defaults.get(name, described.get("default"))
    choices = tuple(described.get("enum", ()))
    return Parameter(
        name=name,
        title=described.get("title", name),
        help=described.get("description", ""),
        kind="choice" if choices else _kind(described),
        default=default,
        unit=described.get("unit", ""),
        group=described.get("group", ""),
        optional=described["optional"],
        choices=choices,
        minimum=described.get("minimum", described.get("exclusiveMinimum")),
        maximum=_maximum(described),
        step=described.get("multipleOf", _step(described, default)),
        most=described.get("maxItems", 1),
        derived_unless=described.get("derived_unless", {}),
    )


def _resolved(described: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field with what it refers to written out, and whether it may be null."""
    if "anyOf" in described:
        (kind,) = (choice for choice in described["anyOf"] if choice.get("type") != "null")
        return {**_resolved(kind, schema), **described, "optional": True}
    if "$ref" in described:
        definition = schema["$defs"][described["$ref"].rsplit("/", 1)[-1]]
        return {**definition, "optional": False, **described}
    return {"optional": False, **described}


def _kind(described: Mapping[str, Any]) -> str:
    if not described.get("image"):
        return str(described["type"])
    if described["type"] == "array":
        return "images"
    return "mask" if described.get("mask") else "image"


def _maximum(described: Mapping[str, Any]) -> Any:
    if described["type"] == "integer" and "exclusiveMaximum" in described:
        return int(described["exclusiveMaximum"]) - 1
    return described.get("maximum", described.get("exclusiveMaximum"))


def _step(described: Mapping[str, Any], default: Any) -> float:
    """1 for whole numbers; for others the power of ten that suits the range and the default's first digit."""
    if described["type"] != "number":
        return 1
    lowest = described.get("minimum", described.get("exclusiveMinimum", 0))
    fine = (_maximum(described) or 1) - lowest
    sizes = [fine / 20] + ([abs(default)] if default else [])
    return float(10.0 ** math.floor(math.log10(min(sizes))))


def _derive(spec: type[BaseModel], wanted: Sequence[Parameter], scope: str) -> None:
    """Put what follows from other fields where it is shown, as long as those make sense."""
    derived = [p for p in wanted if _is_derived(p, scope)]
    if not derived:
        return
    given = {p.name: value for p in wanted if (value := _value(p, scope)) is not None}
    try:
        whole = spec.model_validate(ANYTHING | given)
    except ValidationError:
        return
    for parameter in derived:
        st.session_state[_key(scope, parameter.name)] = getattr(whole, parameter.name)


def _is_derived(parameter: Parameter, scope: str) -> bool:
    return any(
        st.session_state.get(_key(scope, other), value) != value
        for other, value in parameter.derived_unless.items()
    )


def _value(parameter: Parameter, scope: str) -> Any:
    return st.session_state.get(_key(scope, parameter.name), parameter.default)


def _is_changed(parameter: Parameter, scope: str) -> bool:
    return bool(_value(parameter, scope) != parameter.default)


def _group_label(group: str, inside: Iterable[Parameter], scope: str) -> str:
    changed = sum(_is_changed(parameter, scope) for parameter in inside)
    return f"{group} · {changed} changed" if changed else group


def _fitting(parameter: Parameter, values: Mapping[str, Any]) -> Any:
    """The value given for ``parameter``, or its default where the widget cannot show that."""
    value = values.get(parameter.name, parameter.default)
    match parameter.kind:
        case "choice":
            fits = value in parameter.choices
        case "boolean":
            fits = isinstance(value, bool)
        case "integer" | "number":
            fits = value is None or _is_within(parameter, value)
        case _:
            fits = True
    return value if fits else parameter.default


def _is_within(parameter: Parameter, value: Any) -> bool:
    lowest = -math.inf if parameter.minimum is None else parameter.minimum
    highest = math.inf if parameter.maximum is None else parameter.maximum
    return isinstance(value, int | float) and lowest <= value <= highest


def _draw_all(some: Sequence[Parameter], wanted: Sequence[Parameter], scope: str) -> dict[str, Any]:
    """Pictures over the whole width, then everything else on a grid."""
    values = {p.name: _picture(p, wanted, scope) for p in some if p.kind in PICTURES}
    with st.grid(2, min_column_width=130, gap=(12, 16)):
        return values | {p.name: _widget(p, scope) for p in some if p.kind not in PICTURES}


def _picture(parameter: Parameter, wanted: Iterable[Parameter], scope: str) -> Any:
    key = _key(scope, parameter.name)
    if parameter.kind == "images":
        return image_field.draw_several(parameter.label, parameter.help, key, parameter.most)
    if parameter.kind == "image":
        return image_field.draw_one(parameter.label, parameter.help, key)
    under = next((_value(p, scope) for p in wanted if p.kind == "image"), None)
    return mask_canvas.draw(parameter.label, parameter.help, key, under)


def _widget(parameter: Parameter, scope: str) -> Any:
    shown: dict[str, Any] = {
        "key": _key(scope, parameter.name),
        "help": parameter.help,
        "persist_state": "session",
        "disabled": _is_derived(parameter, scope),
    }
    match parameter.kind:
        case "choice":
            return _choice(parameter, shown)
        case "boolean":
            return st.toggle(parameter.label, value=bool(parameter.default), **shown)
        case "integer" | "number":
            return _number_input(parameter, shown)
        case _:
            return st.text_input(parameter.label, value=parameter.default or "", **shown)


def _choice(parameter: Parameter, shown: Mapping[str, Any]) -> Any:
    if len(parameter.choices) > MOST_BUTTONS:
        index = parameter.choices.index(parameter.default)
        return st.selectbox(parameter.label, parameter.choices, index=index, filter_mode=None, **shown)
    return st.segmented_control(
        parameter.label,
        parameter.choices,
        default=parameter.default,
        required=True,
        width="stretch",
        **shown,
    )


def _number_input(parameter: Parameter, shown: Mapping[str, Any]) -> Any:
    number = int if parameter.kind == "integer" else float
    asked = {
        "min_value": parameter.minimum,
        "max_value": parameter.maximum,
        "value": parameter.default,
        "step": parameter.step,
    }
    limits: dict[str, Any] = {name: None if n is None else number(n) for name, n in asked.items()}
    pattern = "%d" if number is int else "%g"
    return st.number_input(
        parameter.label, format=pattern, placeholder=_when_empty(parameter), **limits, **shown
    )


def _when_empty(parameter: Parameter) -> str:
    if parameter.default is not None:
        return f"{parameter.default:g}"
    return "none" if parameter.optional else "random"


def _defaults_of(generator: Generator, weights: str) -> Mapping[str, Any]:
    return next((w.defaults for w in generator.weights if w.name == weights), {})


def _told(value: Any, parameter: Parameter | None) -> Any:
    if parameter is None or parameter.kind not in PICTURES:
        return value
    return look.thumbnails([value] if isinstance(value, str) else value or [])


def _key(scope: str, name: str) -> str:
    return f"{scope}.{name}"
