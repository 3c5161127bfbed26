"""The latent optimiser moves a picture towards a text, and goes on from its dump as if never stopped."""

import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from guidance.clip import Clip
from guidance.latent_optimiser import Convergence, LatentOptimiser, clamp_with_gradient
from networks.vqgan import VQGAN, VQGANConfig


@pytest.fixture(scope="module")
def vqgan() -> VQGAN:
    torch.manual_seed(0)
    config = VQGANConfig(
        ch=32, ch_mult=(1, 1), num_res_blocks=1, attn_resolutions=(), z_channels=8, embed_dim=4, n_embed=16
    )
    vqgan = VQGAN(config).eval().requires_grad_(False)
    torch.nn.init.normal_(vqgan.codebook)
    return vqgan


@pytest.fixture(scope="module")
def clip() -> Clip:
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = CLIPConfig(
        text_config={**tower, "vocab_size": 10, "eos_token_id": 2},
        vision_config={**tower, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model = CLIPModel(config).eval().requires_grad_(False)
    return Clip(model, None, (0.5,) * 3, (0.5,) * 3, torch.float32)


def optimiser(vqgan: VQGAN, clip: Clip, seed: int = 0) -> LatentOptimiser:
    random = torch.Generator().manual_seed(seed)
    text = torch.nn.functional.normalize(torch.randn(16, generator=random), dim=0)
    latent = vqgan.embed(torch.randint(16, (1, 24, 24), generator=random))
    return LatentOptimiser(vqgan, clip, text, latent, random, cutouts=4, learning_rate=0.1)


def advance(optimiser: LatentOptimiser, steps: int) -> list[float]:
    return [optimiser.advance(optimiser.picture()) for _ in range(steps)]


def test_the_picture_comes_to_fit_the_text(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip)
    before = clip.score(going.picture(), going.text).item()
    advance(going, 30)
    assert clip.score(going.picture(), going.text).item() > before + 0.05


def test_only_the_latent_moves_and_within_the_codebooks_range(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip)
    frozen = {name: value.clone() for name, value in vqgan.state_dict().items()}
    start = going.latent.detach().clone()
    advance(going, 20)
    assert not torch.equal(start, going.latent)
    assert (going.latent <= going.high).all()
    assert (going.latent >= going.low).all()
    assert all(torch.equal(value, frozen[name]) for name, value in vqgan.state_dict().items())


def test_the_picture_is_made_of_codes_only(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip)
    advance(going, 5)
    _, indices = vqgan.quantize(going.latent)
    expected = vqgan.decode(vqgan.embed(indices)).div(2).add(0.5).clamp(0, 1)
    torch.testing.assert_close(going.picture(), expected, atol=1e-5, rtol=0)


def test_a_restored_optimiser_goes_on_to_the_same_latent(vqgan: VQGAN, clip: Clip) -> None:
    straight = optimiser(vqgan, clip)
    advance(straight, 7)
    dumped = straight.dump()
    rest = advance(straight, 6)
    resumed = optimiser(vqgan, clip, seed=5)
    resumed.text = straight.text
    resumed.restore(dumped)
    assert resumed.step == 7
    assert advance(resumed, 6) == rest
    assert torch.equal(resumed.latent, straight.latent)
    assert resumed.convergence == straight.convergence


def test_a_loss_that_no_longer_falls_has_converged() -> None:
    convergence = Convergence()
    for step in range(40):
        convergence.observe(1 - step / 100)
    assert not convergence.reached
    for _ in range(200):
        convergence.observe(0.6)
    assert convergence.reached


def test_clamping_lets_the_gradient_lead_back_into_the_range() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    clamp_with_gradient(x, 0, 1).sum().backward()  # descending this moves every value down
    assert x.grad.tolist() == [0, 1, 1]
