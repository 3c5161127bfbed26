"""Which frames an animation shows: chosen by step, never by time, so that a resumed job shows the same."""

from bisect import bisect_right


class Choice:
    """At most ``frames`` steps of 0 to ``steps``, evenly spaced, the first and the last among them."""

    def __init__(self, steps: int, frames: int) -> None:
        gaps = max(min(steps, frames - 1), 1)
        self._wanted = sorted({steps * i // gaps for i in range(gaps + 1)}) if frames > 1 else [steps]

    def takes(self, step: int, previous: int | None) -> bool:
        """Whether the frame is shown: the first at or after a wanted step, given the frame before it."""
        return self._passed(step) > (0 if previous is None else self._passed(previous))

    def _passed(self, step: int) -> int:
        return bisect_right(self._wanted, step)
