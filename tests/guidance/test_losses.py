"""The spherical distance is half the squared angle between unit vectors."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from guidance.losses import spherical_distance


@given(angle=st.floats(0.01, math.pi - 0.01))
def test_half_the_squared_angle(angle: float) -> None:
    a = torch.tensor([1.0, 0.0])
    b = torch.tensor([math.cos(angle), math.sin(angle)])
    assert math.isclose(spherical_distance(a, b).item(), angle**2 / 2, rel_tol=1e-3, abs_tol=1e-5)
