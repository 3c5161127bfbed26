"""Score against time for steps, cutouts and starts: where the curves bend, the presets lie.

``python -m benchmarks.knee [--prompts 8]`` draws held-out prompts with the shipped weights, each start and
number of cutouts once with many steps, and notes when each step was done. Mean curves of CLIP's score and of
the judge's share of right attributes go to ``docs/knee.svg``, the figures to ``docs/knee.json``.
"""

import argparse
import json
from dataclasses import dataclass

import altair as alt
import pandas as pd
import torch

from benchmarks.guided_step import SANDBOX
from benchmarks.time_to_score import draw_ours, judged
from guidance.clip import Clip
from sandbox.evaluate import distinct_scenes
from sandbox.scenes import HELD_OUT
from settings import ROOT

FIRST_SEED = HELD_OUT + 800_000_000
STEPS = 40


@dataclass(frozen=True)
class Curve:
    """One way to spend time."""

    start: str
    cutouts: int
    parameters: dict[str, str]


CURVES = [
    Curve(start, cutouts, {**parameters, "cutouts": str(cutouts), "steps": str(STEPS), "settling": "0"})
    for start, parameters in {
        "noise": {"init": "noise"},
        "prior, 1": {"candidates": "1"},
        "prior, best of 8": {"candidates": "8"},
        "prior, best of 32": {"candidates": "32"},
    }.items()
    for cutouts in (4, 16, 32)
]


def main() -> None:
    """Draw, plot, print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prompts", type=int, default=8)
    options = parser.parse_args()
    pairs = distinct_scenes(options.prompts, FIRST_SEED)
    clip = Clip.load(SANDBOX / "clip", "cpu", torch.float32)
    rows = []
    for curve in CURVES:
        way = draw_ours(pairs, curve.parameters)
        results = judged(way, pairs, clip)
        for seconds, (score, share) in zip(way.seconds, results, strict=True):
            shown = {"start": curve.start, "cutouts": curve.cutouts, "seconds": round(seconds, 3)}
            rows.append({**shown, "score": round(score, 4), "attributes": round(share, 4)})
        print(curve.start, curve.cutouts, rows[-1])
    (ROOT / "docs" / "knee.json").write_text(json.dumps(rows, indent=0) + "\n")
    plot(pd.DataFrame(rows)).save(ROOT / "docs" / "knee.svg")


def plot(rows: pd.DataFrame) -> alt.Chart:
    """Curves a start and number of cutouts, time on a logarithmic axis."""
    points = rows.melt(["start", "cutouts", "seconds"], ["score", "attributes"], "measure")
    return (
        alt.Chart(points)
        .mark_line()
        .encode(
            x=alt.X("seconds:Q", scale=alt.Scale(type="log"), title="seconds"),
            y=alt.Y("value:Q", title=None, scale=alt.Scale(zero=False)),
            color="start:N",
            strokeDash="cutouts:O",
        )
        .properties(width=360, height=240)
        .facet(column=alt.Column("measure:N", title=None))
        .resolve_scale(y="independent")
    )


if __name__ == "__main__":
    main()
