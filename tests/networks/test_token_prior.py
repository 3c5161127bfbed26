"""The token prior fills grids of codes, the same for the same seed, and hears its text."""

from pathlib import Path

import pytest
import torch

from networks.token_prior import TokenPrior, TokenPriorConfig, load_prior, sample_rounds, save_prior

CONFIG = TokenPriorConfig(
    n_embed=32, grid=8, vocabulary=20, context=6, width=32, layers=2, heads=2, code_width=8
)
TEXT = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 7, 2, 0, 0, 0]])


@pytest.fixture
def prior() -> TokenPrior:
    torch.manual_seed(0)
    prior = TokenPrior(CONFIG).eval()
    torch.nn.init.normal_(prior.codes.weight)
    return prior


def test_predicts_every_code_of_the_grid(prior: TokenPrior) -> None:
    codes = torch.randint(33, (2, 8, 8))
    assert prior(codes, TEXT, TEXT != 0).shape == (2, 8, 8, 32)


def test_each_block_of_codes_keeps_its_place(prior: TokenPrior) -> None:
    """With attention silenced, changing one code changes only the logits of its own 2 x 2 block."""
    for block in prior.blocks:
        torch.nn.init.zeros_(block.out.weight)
    codes = torch.zeros(1, 8, 8, dtype=torch.long)
    changed = codes.clone()
    changed[0, 3, 6] = 7
    text = TEXT[:1]
    difference = (prior(codes, text, text != 0) - prior(changed, text, text != 0)).abs().sum(-1)[0] > 0
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[2:4, 6:8] = True
    assert torch.equal(difference, expected)


def test_padding_after_the_text_changes_nothing(prior: TokenPrior) -> None:
    codes = torch.randint(33, (1, 8, 8))
    short, long = TEXT[:1, :4], TEXT[:1]
    torch.testing.assert_close(prior(codes, short, short != 0), prior(codes, long, long != 0))


def test_a_text_kept_back_is_not_heard(prior: TokenPrior) -> None:
    codes, silence = torch.randint(33, (1, 8, 8)), torch.zeros(1, 6, dtype=torch.bool)
    torch.testing.assert_close(prior(codes, TEXT[:1], silence), prior(codes, TEXT[1:], silence))
    assert not torch.allclose(prior(codes, TEXT[:1], TEXT[:1] != 0), prior(codes, TEXT[1:], TEXT[1:] != 0))


def sample(prior: TokenPrior, seed: int) -> torch.Tensor:
    *_, codes = sample_rounds(prior, TEXT, TEXT != 0, torch.Generator().manual_seed(seed))
    return codes


@pytest.mark.parametrize("rounds", [1, 3, 12, 64])
def test_sampling_fills_the_whole_grid_with_real_codes(prior: TokenPrior, rounds: int) -> None:
    seeded = torch.Generator().manual_seed(1)
    after_each = list(sample_rounds(prior, TEXT, TEXT != 0, seeded, rounds=rounds))
    assert len(after_each) == rounds
    for codes in after_each:
        assert codes.shape == (2, 8, 8)
        assert codes.min() >= 0
        assert codes.max() < CONFIG.n_embed


def test_the_same_seed_samples_the_same_codes_whatever_the_global_state(prior: TokenPrior) -> None:
    first = sample(prior, 1)
    torch.manual_seed(99)
    assert torch.equal(first, sample(prior, 1))
    assert not torch.equal(first, sample(prior, 2))


def test_saved_and_loaded_it_predicts_the_same(prior: TokenPrior, tmp_path: Path) -> None:
    save_prior(prior, tmp_path / "prior.safetensors")
    loaded = load_prior(tmp_path / "prior.safetensors")
    codes = torch.randint(33, (2, 8, 8))
    torch.testing.assert_close(
        loaded(codes, TEXT, TEXT != 0), prior(codes, TEXT, TEXT != 0), atol=2e-3, rtol=0
    )
    assert not any(p.requires_grad for p in loaded.parameters())
