"""Every recipe learns, goes on from its checkpoint as if never stopped, and ships what can be loaded."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from networks.biggan import BigGAN, BigGANConfig
from networks.vqgan import VQGAN
from sandbox.data import SceneData
from sandbox.loop import Recipe, train
from sandbox.recipes import biggan, clip, decoder, judge, prior, vqgan
from sandbox.recipes.biggan import BigGANRecipe, Encoder, slim, whiten
from sandbox.recipes.clip import ClipRecipe
from sandbox.recipes.decoder import DecoderRecipe
from sandbox.recipes.judge import JudgeRecipe, load_judge
from sandbox.recipes.prior import PriorRecipe
from sandbox.recipes.vqgan import CONFIG, VqganRecipe, k_means
from weights.loading import load_biggan, load_clip, load_prior, load_vqgan

pytestmark = pytest.mark.timeout(1500)  # real networks take real steps
SCENES = 96
LOADERS: dict[str, Callable[[Path], object]] = {
    "vqgan": lambda folder: load_vqgan(folder / "vqgan.yaml", folder / "vqgan.safetensors"),
    "decoder": lambda folder: load_vqgan(folder / "vqgan.yaml", folder / "vqgan.safetensors"),
    "clip": lambda folder: load_clip(folder / "clip"),
    "prior": lambda folder: load_prior(folder / "prior.safetensors"),
    "judge": load_judge,
    "biggan": lambda folder: load_biggan(
        folder / "biggan" / "config.json", folder / "biggan" / "biggan.safetensors"
    ),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SceneData:
    return SceneData(tmp_path_factory.mktemp("scenes"), SCENES)


@pytest.fixture(autouse=True)
def eager() -> None:
    torch.compiler.set_stance("force_eager")


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    smaller = {
        "BATCH": 4,
        "CROP_BATCH": 4,
        "WHOLE_BATCH": 2,
        "IMAGINED": 4,
        "STANDING_BATCHES": 1,
        "SHAPES": 1,
    }
    for recipe in (biggan, clip, decoder, judge, prior, vqgan):
        for name in smaller.keys() & vars(recipe).keys():
            monkeypatch.setattr(recipe, name, smaller[name])


def make(name: str, data: SceneData, folder: Path) -> Recipe:
    torch.manual_seed(0)
    if name in ("decoder", "prior"):
        drawing = VQGAN(CONFIG).eval().requires_grad_(False)
        recipe = DecoderRecipe if name == "decoder" else PriorRecipe
        return recipe(data, drawing, folder / "codes.npy")
    return {"vqgan": VqganRecipe, "clip": ClipRecipe, "judge": JudgeRecipe, "biggan": BigGANRecipe}[name](
        data
    )


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", LOADERS)
def test_goes_on_from_its_checkpoint_and_ships(name: str, data: SceneData, tmp_path: Path) -> None:
    straight = make(name, data, tmp_path)
    train(straight, tmp_path / "straight", steps=2, minutes=None)
    broken_off = make(name, data, tmp_path)
    broken_off.step(0, 0)
    checkpoint = {"recipe": broken_off.learner.state(), "step": 1, "spent": 0.0}
    (tmp_path / "resumed").mkdir()
    torch.save(checkpoint, tmp_path / "resumed" / "checkpoint.pt")
    resumed = make(name, data, tmp_path)
    train(resumed, tmp_path / "resumed", steps=2, minutes=None)
    for a, b in zip(straight.network.parameters(), resumed.network.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    resumed.export(tmp_path / "weights")
    LOADERS[name](tmp_path / "weights")


@pytest.mark.parametrize(("name", "measure"), [("prior", "square"), ("judge", "loss")])
def test_learns(name: str, measure: str, data: SceneData, tmp_path: Path) -> None:
    recipe = make(name, data, tmp_path)
    recipe.learner.warm_up = 1
    values = [recipe.step(step, step / 12)[measure] for step in range(12)]
    assert sum(values[-3:]) < sum(values[:3])


TINY = BigGANConfig(
    output_dim=8,
    z_dim=6,
    class_embed_dim=10,
    channel_width=8,
    num_classes=5,
    layers=((True, 16, 1),),
    attention_layer_position=0,
    n_stats=2,
)


@pytest.fixture
def tiny_biggan() -> BigGAN:
    torch.manual_seed(0)
    generator = BigGAN(TINY)
    generator.embeddings.weight.data[-6:] = 0
    return generator.eval().requires_grad_(False)


def test_whitening_changes_the_noise_but_no_picture(tiny_biggan: BigGAN) -> None:
    encoder = Encoder(TINY).requires_grad_(False)
    images, kinds = torch.rand(300, 3, 64, 64), torch.arange(300) % 5
    images += kinds.view(-1, 1, 1, 1)  # so that the classes differ
    classes = torch.nn.functional.one_hot(kinds, 5).float()
    said = encoder(images, kinds)
    before = tiny_biggan(said[:, :6], classes, 1.0)
    whiten(encoder, tiny_biggan, said, kinds)
    mean, spread = encoder(images, kinds).chunk(2, 1)
    torch.testing.assert_close(tiny_biggan(mean, classes, 1.0), before, atol=1e-3, rtol=0)
    covariance = torch.cov(mean.T) + (2 * spread).exp().mean(0).diag()
    torch.testing.assert_close(covariance.diag(), torch.ones(6), atol=0.05, rtol=0)
    for kind in range(5):
        assert mean[kinds == kind].mean(0).abs().max() < 0.05


def test_a_slimmer_biggan_draws_the_same(tiny_biggan: BigGAN) -> None:
    useful = torch.tensor([True, False, True, True, False, True])
    slimmer = slim(tiny_biggan, useful, class_dim=5).eval()
    assert (slimmer.config.z_dim, slimmer.config.class_embed_dim) == (4, 5)
    noise, classes = torch.randn(5, 4), torch.eye(5)
    whole = torch.zeros(5, 6)
    whole[:, useful] = noise
    expected = tiny_biggan(whole, classes, 1.0)
    torch.testing.assert_close(slimmer(noise, classes, 1.0), expected, atol=1e-4, rtol=0)


def test_k_means_finds_clusters() -> None:
    random = torch.Generator().manual_seed(0)
    middles = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = middles.repeat(50, 1) + 0.1 * torch.randn(150, 2, generator=random)
    centres, counts = k_means(points, 12, random)
    assert counts.sum() == 150
    assert torch.cdist(middles, centres).min(1).values.max() < 0.5
