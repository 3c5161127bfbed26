"""What guidance minimises."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Targets:
    """What a picture should, or with a negative weight should not, resemble.

    ``vectors`` (T, D) are unit vectors of texts and pictures; ``weights`` (T,).
    """

    vectors: Tensor
    weights: Tensor

    @classmethod
    def of(cls, vectors: Tensor, weights: Sequence[float]) -> "Targets":
        return cls(vectors, vectors.new_tensor(weights))

    def distance(self, views: Tensor) -> Tensor:
        """Weighted mean of the spherical distances of unit vectors ``views`` (N, D), (N,)."""
        distances = spherical_distance(views[:, None], self.vectors)
        return distances @ self.weights / self.weights.abs().sum()

    def score(self, images: Tensor) -> Tensor:
        """Weighted mean of the cosines of unit vectors ``images`` (N, D), (N,)."""
        return images @ self.vectors.T @ self.weights / self.weights.abs().sum()


@dataclass(frozen=True)
class Costs:
    """What a picture pays beside its distance from the targets; each is a weight, 0 for none.

    ``original`` (1, 3, H, W) is what ``keep_close`` keeps close to.
    """

    total_variation: float = 0.0
    saturation: float = 0.0
    keep_close: float = 0.0
    original: Tensor | None = None

    def of(self, picture: Tensor, closeness: float = 1.0) -> Tensor | None:
        """The costs of ``picture`` (1, 3, H, W) in [0, 1], None for none; ``closeness`` scales keep_close."""
        costs = []
        if self.total_variation:
            costs.append(self.total_variation * total_variation(picture))
        if self.saturation:
            costs.append(self.saturation * saturation(picture))
        if self.keep_close * closeness and self.original is not None:
            costs.append(self.keep_close * closeness * (picture - self.original).square().mean())
        return torch.stack(costs).sum() if costs else None


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared great-circle distance, halved, of unit vectors along the last axis (Crowson 2021)."""
    return (a - b).norm(dim=-1).div(2).arcsin().square().mul(2)


def total_variation(picture: Tensor) -> Tensor:
    """Mean squared difference of neighbouring pixels (Rudin, Osher, Fatemi 1992, squared as is usual)."""
    return picture.diff(dim=2).square().mean() + picture.diff(dim=3).square().mean()


def saturation(picture: Tensor) -> Tensor:
    """Mean squared distance of the colours from gray."""
    return (picture - picture.mean(1, keepdim=True)).square().mean()
