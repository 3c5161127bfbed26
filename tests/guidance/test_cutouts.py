"""Cutouts look at the whole picture, in its colours, from the job's own randomness."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.cutouts import cut_out


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(48, 300), width=st.integers(48, 300), count=st.integers(1, 6))
def test_views_have_the_size_asked_for_and_stay_near_the_range(height: int, width: int, count: int) -> None:
    image = torch.rand(1, 3, height, width, generator=seeded(0))
    views = cut_out(image, count, 64, seeded(1))
    assert views.shape == (count, 3, 64, 64)
    assert views.min() > -0.5
    assert views.max() < 1.5


def test_a_flat_picture_stays_its_colour() -> None:
    image = torch.tensor([0.2, 0.5, 0.8]).view(1, 3, 1, 1).expand(1, 3, 128, 128)
    means = cut_out(image, 8, 64, seeded(0)).mean((0, 2, 3))
    torch.testing.assert_close(means, torch.tensor([0.2, 0.5, 0.8]), atol=0.01, rtol=0)


def test_every_pixel_feels_some_view() -> None:
    image = torch.rand(1, 3, 128, 96, generator=seeded(0)).requires_grad_(True)
    cut_out(image, 64, 64, seeded(2)).square().sum().backward()
    assert (image.grad.abs().sum(1) > 0).float().mean() == 1


def test_views_show_the_picture_upright_and_unmirrored() -> None:
    image = torch.zeros(1, 3, 128, 128)
    image[:, 0, :64] = 1  # red above
    image[:, 1, :, :64] = 1  # green on the left
    views = cut_out(image, 16, 64, seeded(3))
    assert (views[:, 0, :24].mean((1, 2)) > views[:, 0, 40:].mean((1, 2)) + 0.5).all()
    assert (views[:, 1, :, :24].mean((1, 2)) > views[:, 1, :, 40:].mean((1, 2)) + 0.5).all()


def test_the_same_generator_cuts_the_same_views_whatever_the_global_state() -> None:
    image = torch.rand(1, 3, 128, 128, generator=seeded(0))
    first = cut_out(image, 4, 64, seeded(5))
    torch.manual_seed(1234)
    assert torch.equal(first, cut_out(image, 4, 64, seeded(5)))
    assert not torch.equal(first, cut_out(image, 4, 64, seeded(6)))


@pytest.mark.parametrize("side", [64, 512])
def test_cutting_draws_nothing_from_the_global_generator(side: int) -> None:
    before = torch.get_rng_state()
    cut_out(torch.zeros(1, 3, side, side), 3, 64, seeded(0))
    assert torch.equal(before, torch.get_rng_state())
