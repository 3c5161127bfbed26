"""Parameters that people keep under a name of their own."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from sqlalchemy import ColumnElement, Connection, Engine, and_, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from db import reading, writing
from db.tables import presets
from jobs.uploads import is_picture

MAX_NAME = 60
MAX_A_PERSON = 200
NOT_KEPT = frozenset({"prompt", "seed", "weights"})


class PresetRefused(ValueError):
    """A preset cannot be kept under that name; the text says why."""


class PresetNotFound(LookupError):
    """The person has no such preset."""

    def __init__(self) -> None:
        super().__init__("You have no such preset: it was deleted, or never was yours.")


@dataclass(frozen=True)
class Preset:
    """``parameters`` are a spec's without prompt, weights and seed; a built-in one has no ``number``."""

    name: str
    generator: str
    weights: str
    parameters: Mapping[str, Any]
    number: int | None = None


def manner_of(spec: BaseModel) -> dict[str, Any]:
    """What a preset keeps of a generator's spec: how a picture is drawn, whatever it shows.

    Pictures that were not chosen are left out, so that the preset takes away none.
    """
    return {
        name: value
        for name, value in spec.model_dump(mode="json").items()
        if name not in NOT_KEPT and (value or not is_picture(type(spec).model_fields[name]))
    }


class Presets:
    """What people keep; everyone sees their own. Every method raises ``db.DatabaseError`` when it must."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def of(self, person: str) -> list[Preset]:
        """A person's presets by name."""
        mine = select(presets).where(presets.c.submitter == person).order_by(presets.c.name, presets.c.number)
        with reading(self._engine) as connection:
            return [
                Preset(row.name, row.generator, row.weights, row.parameters, row.number)
                for row in connection.execute(mine)
            ]

    def save(self, person: str, preset: Preset) -> Preset:
        """Keep a preset, in place of the person's own of that name, generator and weights.

        Raises:
            PresetRefused: the name is empty or too long, or the person has too many presets.
        """
        name = _on_one_line(preset.name)
        if not 0 < len(name) <= MAX_NAME:
            raise PresetRefused(f"The name of a preset has 1 to {MAX_NAME} letters: type one.")
        key = {
            "submitter": person,
            "generator": preset.generator,
            "weights": preset.weights,
            "name": name,
        }
        try:
            number = self._put(key, dict(preset.parameters))
        except IntegrityError:  # the same was added meanwhile, and is there to be changed now
            number = self._put(key, dict(preset.parameters))
        return Preset(name, preset.generator, preset.weights, preset.parameters, number)

    def delete(self, person: str, number: int) -> None:
        """Forget one of the person's own. Raises PresetNotFound."""
        with writing(self._engine) as connection:
            mine = delete(presets).where(presets.c.submitter == person, presets.c.number == number)
            if connection.execute(mine).rowcount == 0:
                raise PresetNotFound

    def _put(self, key: Mapping[str, str], parameters: dict[str, Any]) -> int:
        with writing(self._engine) as connection:
            return _put(connection, key, parameters)


def _put(connection: Connection, key: Mapping[str, str], parameters: dict[str, Any]) -> int:
    same = _where(key)
    number = connection.execute(select(presets.c.number).where(same)).scalar_one_or_none()
    if number is not None:
        connection.execute(update(presets).where(same).values(parameters=parameters))
        return int(number)
    mine = select(func.count()).where(presets.c.submitter == key["submitter"])
    if connection.execute(mine).scalar_one() >= MAX_A_PERSON:
        raise PresetRefused(f"You have {MAX_A_PERSON} presets, as many as one may: delete one.")
    added = insert(presets).values(**key, parameters=parameters).returning(presets.c.number)
    return int(connection.execute(added).scalar_one())


def _on_one_line(name: str) -> str:
    """Control characters become spaces: not every database can hold them."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in name).split())


def _where(key: Mapping[str, str]) -> ColumnElement[bool]:
    return and_(*(presets.c[name] == value for name, value in key.items()))
