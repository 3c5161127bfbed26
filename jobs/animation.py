"""Which frames an animation shows: chosen by step, never by time, so that a resumed job shows the same."""

from bisect import bisect_right


class Choice:
    """At most ``frames`` (2 or more) steps of 0 to ``steps``, even, the first and the last among them."""

    def __init__(self, steps: int, frames: int) -> None:
        gaps = max(min(steps, frames - 1), 1)
        self._wanted = sorted({steps * gap // gaps for gap in range(gaps + 1)})

    def takes(self, step: int, previous: int | None) -> bool:
        """Whether the frame is shown: the first at or after a wanted step, given the frame before it."""
        return self._passed(step) > (0 if previous is None else self._passed(previous))

    def _passed(self, step: int) -> int:
        return bisect_right(self._wanted, step)
