"""Parameters that you keep under a name."""

from typing import Annotated

from fastapi import APIRouter, Path

from jobs.presets import Preset
from web import presets
from web.api.answers import NOT_FOUND, House, Person, may
from web.api.models import NewPreset, PresetView
from web.permissions import Right

Number = Annotated[int, Path(ge=1, lt=2**31)]

router = APIRouter(tags=["presets"])


@router.get("/presets", dependencies=[may(Right.LOOK)])
def list_presets(house: House, person: Person) -> list[PresetView]:
    """Your own presets by name; GET /generators lists those that sets of weights bring."""
    return [PresetView.of(preset) for preset in house.presets.of(person)]


@router.post("/presets", status_code=201, dependencies=[may(Right.DRAW)])
def save(new: NewPreset, house: House, person: Person) -> PresetView:
    """Keep parameters, in place of your preset of that name for the same generator and weights."""
    return PresetView.of(presets.save(house, person, Preset(**dict(new))))


@router.delete("/presets/{number}", status_code=204, responses=NOT_FOUND, dependencies=[may(Right.DRAW)])
def delete(number: Number, house: House, person: Person) -> None:
    """Delete one of your presets."""
    house.presets.delete(person, number)
