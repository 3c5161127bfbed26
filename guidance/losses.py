"""What guidance minimises."""

from torch import Tensor


def spherical_distance(a: Tensor, b: Tensor) -> Tensor:
    """Squared great-circle distance, halved, of unit vectors along the last axis (Crowson 2021)."""
    return (a - b).norm(dim=-1).div(2).arcsin().square().mul(2)
