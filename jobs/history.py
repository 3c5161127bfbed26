"""The course of a job's numbers, thinned for a chart."""

from collections.abc import Mapping

from jobs.records import numbers_of

_POINTS = 200


def extended(
    history: list[dict[str, float]], step: int, steps: int, numbers: Mapping[str, float]
) -> list[dict[str, float]]:
    """``history`` with a newest point: about 200 points, evenly spaced over ``steps``, and the newest."""
    stride = max(1, -(-steps // _POINTS))
    settled = [point for point in history if point["step"] % stride == 0 and point["step"] < step]
    return [*settled, {"step": float(step), **numbers_of(numbers)}]
