"""The latent optimiser moves a picture to its targets, and goes on from its state as if never stopped."""

import io
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from guidance.clip import Clip
from guidance.cutouts import Augmentations
from guidance.drawings import Mask, VqganDrawing, clamp_with_gradient
from guidance.latent_optimiser import Convergence, Guidance, LatentOptimiser
from guidance.losses import Costs, Targets
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


def direction(seed: int) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(1, 16, generator=random), dim=1)


def optimiser(
    vqgan: VQGAN, clip: Clip, *, seed: int = 0, mask: Mask | None = None, **asked: Any
) -> LatentOptimiser:
    random = torch.Generator().manual_seed(seed)
    latent = vqgan.embed(torch.randint(16, (1, 24, 24), generator=random))
    usual: dict[str, Any] = {"steps": 60, "learning_rate": 0.1, "cutouts": 4}
    chapters = asked.pop("chapters", [Targets.of(direction(seed), [1.0])])
    guidance = Guidance(chapters, **(usual | asked))
    return LatentOptimiser(VqganDrawing(vqgan, latent, torch.float32, mask), clip, guidance, random)


def advance(optimiser: LatentOptimiser, steps: int) -> list[float]:
    return [optimiser.advance(optimiser.picture()) for _ in range(steps)]


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "rmsprop"])
def test_the_picture_comes_to_fit_the_targets(vqgan: VQGAN, clip: Clip, name: str) -> None:
    going = optimiser(vqgan, clip, optimiser=name)
    before = going.score(going.picture())
    advance(going, 30)
    assert going.score(going.picture()) > before + 0.05


def test_a_negative_weight_leads_away(vqgan: VQGAN, clip: Clip) -> None:
    away = Targets.of(direction(0), [-1.0])
    going = optimiser(vqgan, clip, chapters=[away])
    towards = Targets.of(direction(0), [1.0])
    before = towards.score(clip.look(going.picture())).item()
    advance(going, 30)
    assert towards.score(clip.look(going.picture())).item() < before - 0.05


def test_each_chapter_has_its_targets(vqgan: VQGAN, clip: Clip) -> None:
    chapters = [Targets.of(direction(seed), [1.0]) for seed in (1, 2)]
    going = optimiser(vqgan, clip, chapters=chapters, steps=3)
    seen = []
    while going.left:
        seen.append([going.targets is chapter for chapter in chapters].index(True))
        advance(going, 1)
    assert seen == [0, 0, 0, 1, 1, 1]
    assert going.targets is chapters[1]


def test_the_heavier_target_counts_more() -> None:
    targets = Targets.of(torch.eye(3), [3.0, 1.0, -1.0])
    near = torch.nn.functional.normalize(torch.eye(3) + 0.2, dim=1)
    distances = targets.distance(near)
    assert distances[0] < distances[1] < distances[2]
    assert targets.score(torch.eye(3)).tolist() == pytest.approx([0.6, 0.2, -0.2])


def test_only_the_latent_moves_and_within_the_codebooks_range(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip)
    frozen = {name: value.clone() for name, value in vqgan.state_dict().items()}
    start = going.tensors["latent"].detach().clone()
    advance(going, 20)
    latent = going.tensors["latent"]
    assert not torch.equal(start, latent)
    assert (latent <= vqgan.codebook.max(0).values.view(1, -1, 1, 1)).all()
    assert (latent >= vqgan.codebook.min(0).values.view(1, -1, 1, 1)).all()
    assert all(torch.equal(value, frozen[name]) for name, value in vqgan.state_dict().items())


def test_the_picture_is_made_of_codes_only(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip)
    advance(going, 5)
    _, indices = vqgan.quantize(going.tensors["latent"])
    expected = vqgan.decode(vqgan.embed(indices)).div(2).add(0.5).clamp(0, 1)
    torch.testing.assert_close(going.picture(), expected, atol=1e-5, rtol=0)


def test_a_gumbel_vqgan_is_guided_in_its_codebooks_space(clip: Clip) -> None:
    torch.manual_seed(0)
    config = VQGANConfig(
        ch=32,
        ch_mult=(1, 1),
        num_res_blocks=1,
        attn_resolutions=(),
        z_channels=8,
        embed_dim=4,
        n_embed=16,
        gumbel=True,
    )
    gumbel = VQGAN(config).bfloat16().eval().requires_grad_(False)
    codes = torch.randint(16, (1, 24, 24), generator=torch.Generator().manual_seed(0))
    drawing = VqganDrawing(gumbel, gumbel.embed(codes), torch.bfloat16)
    guidance = Guidance([Targets.of(direction(0), [1.0])], steps=5, learning_rate=0.1, cutouts=2)
    going = LatentOptimiser(drawing, clip, guidance, torch.Generator().manual_seed(0))
    expected = gumbel.decode(gumbel.embed(codes)).float().div(2).add(0.5).clamp(0, 1)
    torch.testing.assert_close(going.picture(), expected)
    advance(going, 2)


def test_under_a_mask_the_rest_stays(vqgan: VQGAN, clip: Clip) -> None:
    shown = torch.zeros(1, 1, 48, 48)
    shown[..., :24] = 1
    original = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(1))
    going = optimiser(vqgan, clip, mask=Mask(shown, original))
    before = going.picture().detach()
    advance(going, 10)
    after = going.picture().detach()
    assert torch.equal(after[..., 24:], original[..., 24:])
    assert (after - before)[..., :24].abs().mean() > 0.01


def test_keeping_close_keeps_close(vqgan: VQGAN, clip: Clip) -> None:
    free = optimiser(vqgan, clip)
    original = free.picture().detach()
    held = optimiser(vqgan, clip, costs=Costs(keep_close=300.0, original=original))
    for going in (free, held):
        advance(going, 20)
    far, near = ((going.picture() - original).square().mean().item() for going in (free, held))
    assert near < far / 2


def test_the_cost_of_leaving_decays(vqgan: VQGAN, clip: Clip) -> None:
    original = torch.zeros(1, 3, 48, 48)
    losses = {}
    for decay in (0.0, 1.0):
        going = optimiser(
            vqgan, clip, steps=10, costs=Costs(keep_close=50.0, original=original), keep_close_decay=decay
        )
        losses[decay] = advance(going, 10)
    assert losses[0.0][0] == losses[1.0][0]
    assert losses[1.0][-1] < losses[0.0][-1]


def test_the_cost_of_leaving_decays_over_all_chapters(vqgan: VQGAN, clip: Clip) -> None:
    class Watched(Costs):
        def of(self, picture: Tensor, closeness: float = 1.0) -> Tensor | None:
            seen.append(closeness)
            return None

    seen: list[float] = []
    chapters = [Targets.of(direction(seed), [1.0]) for seed in (1, 2)]
    going = optimiser(vqgan, clip, steps=2, chapters=chapters, costs=Watched(), keep_close_decay=0.8)
    advance(going, 4)
    assert seen == pytest.approx([1, 0.8, 0.6, 0.4])


def test_total_variation_smooths(vqgan: VQGAN, clip: Clip) -> None:
    rough, smooth = optimiser(vqgan, clip), optimiser(vqgan, clip, costs=Costs(total_variation=1000.0))
    for going in (rough, smooth):
        advance(going, 20)
    roughness = [going.picture().diff(dim=3).abs().mean().item() for going in (rough, smooth)]
    assert roughness[1] < 0.95 * roughness[0]


def test_the_schedule_lets_the_last_steps_be_small(vqgan: VQGAN, clip: Clip) -> None:
    moved = {}
    for schedule in ("constant", "cosine"):
        going = optimiser(vqgan, clip, steps=12, schedule=schedule)
        advance(going, 11)
        before = going.tensors["latent"].detach().clone()
        advance(going, 1)
        moved[schedule] = (going.tensors["latent"] - before).abs().mean().item()
    assert moved["cosine"] < moved["constant"] / 10


def test_averaging_shows_the_average(vqgan: VQGAN, clip: Clip) -> None:
    going = optimiser(vqgan, clip, averaging=0.9)
    start = going.tensors["latent"].detach().clone()
    advance(going, 5)
    latent, average = going.tensors["latent"], going.average["latent"]
    assert (average - start).norm() < 0.7 * (latent - start).norm()
    torch.testing.assert_close(going.shown(going.picture()), going.drawing.draw(going.average))


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_chunks_give_the_same_gradient(vqgan: VQGAN, clip: Clip, chunk: int) -> None:
    every = Augmentations(
        perspective=0.5, flip=0.5, colour_jitter=0.5, erasing=0.5, grayscale=0.3, noise=0.1, rotation=0.3
    )
    gradients = []
    for together in (7, chunk):
        going = optimiser(vqgan, clip, cutouts=7, chunk=together, augmentations=every)
        loss = going.advance(going.picture())
        gradients.append((loss, going.tensors["latent"].grad))
    assert gradients[1][0] == pytest.approx(gradients[0][0], abs=1e-6)
    scale = gradients[0][1].abs().max()
    torch.testing.assert_close(gradients[1][1] / scale, gradients[0][1] / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["adam", "radam"])
def test_a_restored_optimiser_goes_on_to_the_same_latent(vqgan: VQGAN, clip: Clip, name: str) -> None:
    straight = optimiser(vqgan, clip, optimiser=name, averaging=0.5, schedule="linear")
    advance(straight, 7)
    file = io.BytesIO()
    torch.save(straight.state(), file)
    rest = advance(straight, 6)
    resumed = optimiser(vqgan, clip, seed=5, optimiser=name, averaging=0.5, schedule="linear")
    resumed.guidance = replace(resumed.guidance, chapters=straight.guidance.chapters)
    file.seek(0)
    resumed.restore(torch.load(file, weights_only=True))
    assert resumed.step == 7
    assert advance(resumed, 6) == rest
    assert torch.equal(resumed.tensors["latent"], straight.tensors["latent"])
    assert torch.equal(resumed.average["latent"], straight.average["latent"])
    assert resumed.convergence == straight.convergence


def test_a_restored_optimiser_looks_at_as_many_cutouts_together(vqgan: VQGAN, clip: Clip) -> None:
    state = optimiser(vqgan, clip, chunk=3).state()
    resumed = optimiser(vqgan, clip, chunk=2)
    resumed.restore(state)
    assert resumed.chunk == 3


@pytest.mark.parametrize("height", [1.0, 0.2, -1.0])
def test_a_loss_that_no_longer_falls_has_converged(height: float) -> None:
    convergence = Convergence()
    for step in range(40):
        convergence.observe(height - step / 100)
    assert not convergence.reached
    for _ in range(200):
        convergence.observe(height - 0.4)
    assert convergence.reached


def test_clamping_lets_the_gradient_lead_back_into_the_range() -> None:
    x = torch.tensor([-0.5, 0.5, 1.5], requires_grad=True)
    clamp_with_gradient(x, 0, 1).sum().backward()  # descending this moves every value down
    assert x.grad.tolist() == [0, 1, 1]
