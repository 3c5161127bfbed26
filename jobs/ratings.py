"""Bradley-Terry ratings (Bradley & Terry, 1952), fitted by Hunter's minorise-maximise steps (2004)."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Player = TypeVar("Player", bound=Hashable)

_ROUNDS = 200
_CLOSE_ENOUGH = 1e-4


@dataclass(frozen=True)
class Contest(Generic[Player]):
    """Two who met; ``winner`` is one of them, or None when neither was good enough."""

    one: Player
    other: Player
    winner: Player | None


def rate(contests: Sequence[Contest[Player]]) -> dict[Player, float]:
    """Ratings on the Elo scale: 1500 is average, 400 more wins ten times of eleven.

    Everyone also meets an average opponent, winning once and losing once, so that few votes make no
    extreme ratings; being found not good enough counts as one more loss against it.
    """
    met, wins, against_average = _tally(contests)
    strength = dict.fromkeys(met, 1.0)
    for _ in range(_ROUNDS):
        before = dict(strength)
        for player, opponents in met.items():
            mine = strength[player]
            expected = against_average[player] / (mine + 1)
            expected += sum(n / (mine + strength[opponent]) for opponent, n in opponents.items())
            strength[player] = wins[player] / expected
        if all(abs(math.log(strength[player] / before[player])) < _CLOSE_ENOUGH for player in met):
            break
    return {player: 1500 + 400 * math.log10(value) for player, value in strength.items()}


def _tally(
    contests: Sequence[Contest[Player]],
) -> tuple[dict[Player, Counter[Player]], dict[Player, int], dict[Player, int]]:
    met: dict[Player, Counter[Player]] = defaultdict(Counter)
    wins: dict[Player, int] = defaultdict(lambda: 1)
    against_average: dict[Player, int] = defaultdict(lambda: 2)
    for contest in contests:
        opponents_of_one, opponents_of_other = met[contest.one], met[contest.other]
        if contest.winner is None:
            against_average[contest.one] += 1
            against_average[contest.other] += 1
        elif contest.one != contest.other:
            wins[contest.winner] += 1
            opponents_of_one[contest.other] += 1
            opponents_of_other[contest.one] += 1
    return met, wins, against_average
