"""The form of a generator, derived from its spec: a parameter is written once, in the spec."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import BaseModel

from jobs.records import Job
from web.studio import Generator

ELSEWHERE = frozenset({"prompt", "weights"})


@dataclass(frozen=True)
class Parameter:
    """One field of a spec as a person sees it; ``default`` None means that it is drawn when left empty."""

    name: str
    title: str
    help: str
    kind: str
    default: Any
    unit: str = ""
    advanced: bool = False
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    step: float = 1

    @property
    def label(self) -> str:
        return f"{self.title} · {self.unit}" if self.unit else self.title


def parameters(spec: type[BaseModel], defaults: Mapping[str, Any]) -> tuple[Parameter, ...]:
    """The fields of ``spec`` in its order; ``defaults`` (a set of weights' own) win over the spec's."""
    schema = spec.model_json_schema()
    return tuple(
        _parameter(name, _resolved(field, schema), defaults)
        for name, field in schema["properties"].items()
        if name not in ELSEWHERE
    )


def draw(wanted: Iterable[Parameter], scope: str) -> dict[str, Any]:
    """Show widgets for ``wanted``, the advanced ones folded away; returns their values by name.

    ``scope`` tells apart the forms of different generators and weights, each keeping what was typed.
    """
    wanted = tuple(wanted)
    values = _draw_grid([p for p in wanted if not p.advanced], scope)
    advanced = [p for p in wanted if p.advanced]
    if advanced:
        with st.expander("Advanced"):
            values |= _draw_grid(advanced, scope)
    return values


def fill(values: Mapping[str, Any], scope: str) -> None:
    """Put ``values`` into the form of ``scope`` that is drawn next; empty ones fall back to the default."""
    for name, value in values.items():
        if name not in ELSEWHERE:
            st.session_state[_key(scope, name)] = value


def described(job: Job, generator: Generator | None) -> dict[str, Any]:
    """All that made a job's picture, by the names that the form of its generator gives."""
    wanted = () if generator is None else parameters(generator.spec, {})
    labels = {parameter.name: parameter.label for parameter in wanted}
    asked = {labels.get(name, name): value for name, value in job.parameters.items()}
    made = {} if job.result is None else {"Seconds": job.result.seconds, **job.result.numbers}
    named = {"Generator": job.generator if generator is None else generator.title, "Weights": job.weights}
    return named | asked | made


def _parameter(name: str, field: Mapping[str, Any], defaults: Mapping[str, Any]) -> Parameter:
    default = defaults.get(name, field.get("default"))
    choices = tuple(field.get("enum", ()))
    return Parameter(
        name=name,
        title=field.get("title", name),
        help=field.get("description", ""),
        kind="choice" if choices else field["type"],
        default=default,
        unit=field.get("unit", ""),
        advanced=field.get("advanced", False),
        choices=choices,
        minimum=field.get("minimum", field.get("exclusiveMinimum")),
        maximum=_maximum(field),
        step=field.get("multipleOf", _step(field, default)),
    )


def _resolved(field: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The field with the enumeration that it refers to written out."""
    if "$ref" not in field:
        return dict(field)
    definition = schema["$defs"][field["$ref"].rsplit("/", 1)[-1]]
    return {**definition, **field}


def _maximum(field: Mapping[str, Any]) -> Any:
    if field["type"] == "integer" and "exclusiveMaximum" in field:
        return int(field["exclusiveMaximum"]) - 1
    return field.get("maximum", field.get("exclusiveMaximum"))


def _step(field: Mapping[str, Any], default: Any) -> float:
    """1 for whole numbers; for others the power of ten that changes the default's first digit."""
    if field["type"] != "number" or not default:
        return 1
    return float(10.0 ** math.floor(math.log10(abs(default))))


def _draw_grid(wanted: Iterable[Parameter], scope: str) -> dict[str, Any]:
    values = {}
    with st.grid(2, min_column_width=130, gap=(12, 16)):
        for parameter in wanted:
            values[parameter.name] = _widget(parameter, _key(scope, parameter.name))
    return values


def _widget(parameter: Parameter, key: str) -> Any:
    shown: dict[str, Any] = {"key": key, "help": parameter.help, "persist_state": "session"}
    match parameter.kind:
        case "choice":
            return st.segmented_control(
                parameter.label,
                parameter.choices,
                default=parameter.default,
                required=True,
                width="stretch",
                **shown,
            )
        case "boolean":
            return st.toggle(parameter.label, value=bool(parameter.default), **shown)
        case "integer" | "number":
            return _number_input(parameter, shown)
        case _:
            return st.text_input(parameter.label, value=parameter.default or "", **shown)


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
    return st.number_input(parameter.label, format=pattern, placeholder="random", **limits, **shown)


def _key(scope: str, name: str) -> str:
    return f"{scope}.{name}"
