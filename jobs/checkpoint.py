"""What an attempt leaves for the next one: where it was, and the generator's own bytes."""

import json
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """The state after the frame of ``step``.

    ``shown`` are the steps of the animation's frames so far, whose PNG artifacts are in the store, as is
    that of ``step`` itself. ``seconds`` is the work spent. ``state`` is what the generator goes on from.
    """

    step: int
    steps: int
    shown: list[int]
    numbers: dict[str, float]
    history: list[dict[str, float]]
    seconds: float
    state: bytes

    def to_bytes(self) -> bytes:
        """A line of JSON, then the generator's bytes."""
        head = asdict(self)
        del head["state"]
        return json.dumps(head).encode() + b"\n" + self.state

    @classmethod
    def from_bytes(cls, data: bytes) -> "Checkpoint":
        """Raises ValueError when the bytes are no checkpoint."""
        head, newline, state = data.partition(b"\n")
        if not newline:
            raise ValueError("The checkpoint is cut short.")
        values: dict[str, Any] = json.loads(head)
        try:
            return cls(**values, state=state)
        except TypeError as error:
            raise ValueError(f"The checkpoint is of another version: {error}.") from error
