"""The prior goes from noise to latents, the same for the same seed, and hears its text."""

from pathlib import Path

import pytest
import torch

from networks.latent_flow import LatentFlow, LatentFlowConfig, load_prior, sample_rounds, save_prior

CONFIG = LatentFlowConfig(
    embed_dim=6, directions=3, grid=8, vocabulary=20, context=6, width=32, layers=2, heads=2, details=8
)
TEXT = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 2, 0, 0, 0]])
TIME = torch.tensor([0.3, 0.9])


@pytest.fixture
def flow() -> LatentFlow:
    torch.manual_seed(0)
    flow = LatentFlow(CONFIG).eval()
    for parameter in flow.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return flow


def noise(count: int = 2) -> torch.Tensor:
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(3))


def test_imagines_a_whole_latent(flow: LatentFlow) -> None:
    assert flow(noise(), TIME, TEXT, TEXT != 0).shape == (2, 3, 8, 8)


def test_every_place_hears_of_every_other(flow: LatentFlow) -> None:
    changed = noise()
    changed[:, :, 0, 0] += 1
    difference = flow(noise(), TIME, TEXT, TEXT != 0) - flow(changed, TIME, TEXT, TEXT != 0)
    assert (difference.abs().amax(1) > 0).all()


def test_time_matters(flow: LatentFlow) -> None:
    assert not torch.allclose(
        flow(noise(), TIME, TEXT, TEXT != 0), flow(noise(), TIME.flip(0), TEXT, TEXT != 0)
    )


def test_padding_after_the_text_changes_nothing(flow: LatentFlow) -> None:
    short, long = TEXT[:1, :4], TEXT[:1]
    torch.testing.assert_close(
        flow(noise(1), TIME[:1], short, short != 0), flow(noise(1), TIME[:1], long, long != 0)
    )


def test_a_text_kept_back_is_not_heard(flow: LatentFlow) -> None:
    x, time, silence = noise(1), TIME[:1], torch.zeros(1, 6, dtype=torch.bool)
    torch.testing.assert_close(flow(x, time, TEXT[:1], silence), flow(x, time, TEXT[1:], silence))
    assert not torch.allclose(flow(x, time, TEXT[:1], TEXT[:1] != 0), flow(x, time, TEXT[1:], TEXT[1:] != 0))


def test_finds_the_directions_in_which_latents_differ(flow: LatentFlow) -> None:
    random = torch.Generator().manual_seed(5)
    latents = torch.randn(500, 3, generator=random) @ torch.randn(3, 6, generator=random) + 7
    flow.fit(latents)
    square = latents[:64].T.reshape(1, 6, 8, 8)
    torch.testing.assert_close(flow.lift(flow.project(square)), square, atol=1e-3, rtol=0)
    everything = flow.project(latents.T.reshape(1, 6, 500, 1))
    torch.testing.assert_close(everything.std((0, 2, 3)), torch.ones(3), atol=0.01, rtol=0)
    torch.testing.assert_close(everything.mean((0, 2, 3)), torch.zeros(3), atol=0.01, rtol=0)


def sample(flow: LatentFlow, seed: int, rounds: int = 4) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    return list(sample_rounds(flow, TEXT, TEXT != 0, random, rounds=rounds))


@pytest.mark.parametrize("rounds", [1, 3, 12])
def test_samples_latents_after_each_round(flow: LatentFlow, rounds: int) -> None:
    after_each = sample(flow, 1, rounds)
    assert len(after_each) == rounds
    for latents in after_each:
        assert latents.shape == (2, 6, 8, 8)
        assert latents.isfinite().all()


def test_a_network_that_knows_the_scene_arrives_at_it(flow: LatentFlow) -> None:
    """Whatever the noise, the last round is what the network imagines: nothing of the noise is left."""
    for parameter in flow.leave.parameters():
        torch.nn.init.zeros_(parameter)
    scene = torch.tensor([1.0, -2.0, 0.5])
    flow.leave.bias.data.copy_(scene)
    expected = flow.lift(scene.view(1, 3, 1, 1).expand(2, 3, 8, 8))
    torch.testing.assert_close(sample(flow, 1)[-1], expected)


def test_the_same_seed_samples_the_same_whatever_the_global_state(flow: LatentFlow) -> None:
    first = sample(flow, 1)[-1]
    torch.manual_seed(99)
    assert torch.equal(first, sample(flow, 1)[-1])
    assert not torch.equal(first, sample(flow, 2)[-1])


def test_saved_and_loaded_it_imagines_the_same(flow: LatentFlow, tmp_path: Path) -> None:
    flow.fit(torch.randn(100, 6))
    save_prior(flow, tmp_path / "prior.safetensors")
    loaded = load_prior(tmp_path / "prior.safetensors")
    assert not any(p.requires_grad for p in loaded.parameters())
    expected, found = (network(noise(), TIME, TEXT, TEXT != 0) for network in (flow, loaded))
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.01)
    torch.testing.assert_close(loaded.basis, flow.basis, atol=2e-3, rtol=0)


def test_from_a_start_only_a_share_is_imagined_afresh(flow: LatentFlow) -> None:
    start = flow.lift(noise())
    random = torch.Generator().manual_seed(1)
    seen = []
    flow.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0], inputs[1])))
    list(sample_rounds(flow, TEXT, TEXT != 0, random, rounds=2, start=start, afresh=0.25))
    first, time = seen[0]
    expected = 0.75 * noise() + 0.25 * torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(first[:2], expected)
    assert (time == 0.25).all()
