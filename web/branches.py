"""Going on from a finished picture: links to the form, and what they fill it with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import streamlit as st

from jobs.records import Job
from web.permissions import Caller
from web.studio import Generator, Studio

START = "start_image"
AFRESH = 0.5
WAYS = {
    "continue": ("Continue", ":material/redo:"),
    "vary": ("Variations", ":material/shuffle:"),
    "like": ("Use these parameters", ":material/tune:"),
}


@dataclass(frozen=True)
class Branch:
    """What to fill the form with; parameters that are missing get their defaults."""

    generator: str
    weights: str
    prompt: str
    parameters: Mapping[str, Any]


def links(job: Job) -> None:
    """Links that fill the form from ``job``: to continue from its picture, to vary it, to make it again."""
    with st.container(key=f"branches-{job.id}", horizontal=True, gap="xxsmall"):
        for way, (label, icon) in WAYS.items():
            address = {way: job.id, "job": job.id}
            st.page_link("generate.py", label=label, icon=icon, query_params=address)


def asked_for(house: Studio, caller: Caller) -> Branch | None:
    """What the link that led here asks for, once; None where none did, or nothing can draw.

    Raises:
        JobNotFound: the job was deleted.
        NotAllowed: the caller may not have pictures drawn.
        TooMuch: the caller has handed in enough.
        StoreError: its picture cannot be read.
    """
    asked = {way: st.query_params.pop(way, None) for way in WAYS}
    way, job_id = next(((way, id) for way, id in asked.items() if id), ("", None))
    if job_id is None:
        return None
    job = house.job(job_id, caller)
    usable = [generator for generator in house.generators.values() if generator.weights]
    if way == "like" or job.result is None:
        return _like(job, usable)
    branch = _like(job, [g for g in usable if START in g.spec.model_fields])
    if branch is None:
        return None
    picture = house.hand_in(house.artifacts.read(job.result.image), caller)
    afresh = {"start_afresh": AFRESH, "seed": None} if way == "vary" else {}
    return replace(branch, parameters={**branch.parameters, START: picture.reference, **afresh})


def _like(job: Job, usable: Sequence[Generator]) -> Branch | None:
    """As ``job`` was made; by the first generator's defaults where its own is not among the ``usable``."""
    for generator in usable:
        if generator.name == job.generator:
            names = [weights.name for weights in generator.weights]
            weights = job.weights if job.weights in names else names[0]
            return Branch(generator.name, weights, job.prompt, job.parameters)
    if not usable:
        return None
    return Branch(usable[0].name, usable[0].weights[0].name, job.prompt, {})
