"""Cutouts look at the whole picture, in its colours, from the job's own randomness."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from guidance.cutouts import Augmentations, choose_views, cut_out


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


EVERY = Augmentations(
    smallest=0.3,
    power=2.0,
    noise=0.2,
    rotation=0.5,
    flip=1.0,
    perspective=0.5,
    colour_jitter=0.5,
    erasing=0.5,
    grayscale=0.5,
)


def corner_marked() -> torch.Tensor:
    """Red on top, green on the left, on black."""
    image = torch.zeros(1, 3, 64, 64)
    image[:, 0, :32] = 1
    image[:, 1, :, :32] = 1
    return image


def views(**strengths: float) -> torch.Tensor:
    nothing = {"smallest": 1.0, "noise": 0.0, "rotation": 0.0}
    return cut_out(corner_marked(), 40, 64, seeded(4), Augmentations(**(nothing | strengths)))


def test_without_augmentations_a_view_is_the_picture_but_for_its_reach() -> None:
    assert (views() - corner_marked()).abs().mean() < 0.05


def test_flip_mirrors_half_of_the_views() -> None:
    greener_left = views(flip=1.0)[:, 1, :, :32].mean((1, 2)) > 0.5
    assert 10 < greener_left.sum() < 30


def test_rotation_turns() -> None:
    red_below = views(rotation=1.0)[:, 0, 40:].mean((1, 2))
    assert (red_below > 0.2).sum() > 10


def test_power_makes_small_views_more_frequent() -> None:
    def sizes(power: float) -> torch.Tensor:
        how = Augmentations(smallest=0.1, power=power, rotation=0)
        return choose_views((64, 64), 200, 32, how, seeded(0)).placements[:, 0, 0]

    assert sizes(4.0).median() < 0.25 < 0.8 < sizes(0.2).median()


def test_perspective_tilts() -> None:
    across = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    how = Augmentations(smallest=1.0, noise=0.0, rotation=0.0, perspective=1.0)
    seen = cut_out(across, 16, 64, seeded(0), how)
    slopes = seen.diff(dim=3)[:, 0]
    steepest, gentlest = slopes.amax((1, 2)), slopes[:, :, 8:-8].amin((1, 2))
    assert (steepest > 1.3 * gentlest).float().mean() > 0.7


def test_grayscale_takes_the_colours() -> None:
    seen = views(grayscale=1.0)
    torch.testing.assert_close(seen[:, 0], seen[:, 1])
    torch.testing.assert_close(seen[:, 0], seen[:, 2])


def test_colour_jitter_changes_how_strong_colours_are() -> None:
    red = torch.tensor([0.7, 0.3, 0.3]).view(1, 3, 1, 1).expand(1, 3, 64, 64)
    seen = cut_out(red, 32, 64, seeded(0), Augmentations(noise=0, colour_jitter=1.0))
    strength = (seen.amax(1) - seen.amin(1)).mean((1, 2)) / seen.mean((1, 2, 3))
    plain = 0.4 / 0.433
    assert strength.min() < 0.6 * plain
    assert strength.max() > 1.2 * plain


def test_colour_jitter_keeps_a_gray_picture_gray() -> None:
    gray = torch.full((1, 3, 64, 64), 0.5)
    seen = cut_out(gray, 16, 64, seeded(0), Augmentations(noise=0, colour_jitter=1.0))
    torch.testing.assert_close(seen[:, 0], seen[:, 2], atol=1e-5, rtol=0)
    assert seen.mean((1, 2, 3)).std() > 0.05


def test_erasing_covers_a_part() -> None:
    erased = (views(erasing=1.0) == 0.5).all(1).float().mean((1, 2))
    assert ((erased > 0.03) & (erased < 0.3)).all()


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(1, 8), seed=st.integers(0, 99))
def test_views_taken_in_parts_are_those_taken_at_once(cut: int, seed: int) -> None:
    image = torch.rand(1, 3, 80, 64, generator=seeded(0))
    chosen = choose_views((80, 64), 9, 32, EVERY, seeded(seed))
    parts = torch.cat([chosen.take(image, slice(0, cut)), chosen.take(image, slice(cut, None))])
    torch.testing.assert_close(parts, chosen.take(image))
