"""Our BigGAN-deep against images made by the original one, and against its size."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from networks.biggan import BigGAN, BigGANConfig, fold_spectral_norm
from weights.reader import read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG = GOLDEN / "biggan_deep.config.json"


def load() -> BigGAN:
    model = BigGAN(BigGANConfig.from_json(CONFIG))
    model.load_state_dict(fold_spectral_norm(read_checkpoint(GOLDEN / "biggan_deep.bin")))
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def model() -> BigGAN:
    return load()


@pytest.fixture(scope="module")
def expected() -> dict[str, torch.Tensor]:
    return torch.load(GOLDEN / "biggan_deep.expected.pt", weights_only=True)


def for_layers(model: BigGAN, vectors: torch.Tensor) -> torch.Tensor:
    return vectors[:, None].repeat(1, model.conditioning_layers, 1)


@pytest.mark.parametrize("truncation", [0.4, 0.53, 1.0])
def test_draws_as_the_original(model: BigGAN, expected: dict[str, torch.Tensor], truncation: float) -> None:
    images = model(expected["z"], expected["class_vector"], truncation)
    torch.testing.assert_close(images, expected[f"image_truncation_{truncation}"], atol=1e-4, rtol=0.0)


def test_folded_weights_are_those_that_spectral_normalisation_computes() -> None:
    torch.manual_seed(0)
    layer = torch.nn.utils.spectral_norm(torch.nn.Conv2d(5, 7, 3)).eval()
    layer(torch.zeros(1, 5, 3, 3))
    folded = fold_spectral_norm({f"layer.{name}": tensor for name, tensor in layer.state_dict().items()})
    assert folded.keys() == {"layer.weight", "layer.bias"}
    torch.testing.assert_close(folded["layer.weight"], layer.weight)


def test_statistics_between_two_steps_are_mixed_with_the_originals_shares() -> None:
    """BigGANBatchNorm.forward of pytorch-pretrained-BigGAN: the fraction weighs the step below."""
    norm = load().generator.bn
    norm.running_means.copy_(torch.arange(51.0)[:, None].expand(-1, 8))
    norm.running_vars.fill_(1 - norm.eps)
    norm.weight.fill_(1)
    norm.bias.zero_()
    for truncation, mean in ((0.02, 1.0), (0.53, 26.5), (0.525, 26.75), (1.0, 50.0)):
        shifted = norm(torch.zeros(1, 8, 2, 2), truncation)
        torch.testing.assert_close(shifted, torch.full_like(shifted, -mean))


@pytest.mark.parametrize("truncation", [0.0, -0.4, 1.02, float("nan")])
def test_a_truncation_without_statistics_is_refused(
    model: BigGAN, expected: dict[str, torch.Tensor], truncation: float
) -> None:
    with pytest.raises(ValueError, match="truncation is above 0 and at most 1"):
        model(expected["z"], expected["class_vector"], truncation)


def test_one_vector_for_all_layers_is_the_same_vector_for_each(
    model: BigGAN, expected: dict[str, torch.Tensor]
) -> None:
    z, classes = expected["z"], expected["class_vector"]
    wanted = model(z, classes, 0.4)
    for each_z in (z, for_layers(model, z)):
        for each_classes in (classes, for_layers(model, classes)):
            torch.testing.assert_close(model(each_z, each_classes, 0.4), wanted, atol=1e-6, rtol=0.0)


def test_every_layer_heeds_its_own_vectors(model: BigGAN, expected: dict[str, torch.Tensor]) -> None:
    z, classes = (for_layers(model, expected[name]) for name in ("z", "class_vector"))
    wanted = model(z, classes, 0.4)
    for layer in range(model.conditioning_layers):
        other_z, other_classes = z.clone(), classes.clone()
        other_z[:, layer] += 0.5
        other_classes[:, layer] = other_classes[:, layer].roll(1, 1)
        assert not torch.allclose(model(other_z, classes, 0.4), wanted, atol=1e-4)
        assert not torch.allclose(model(z, other_classes, 0.4), wanted, atol=1e-4)


def test_vectors_for_another_number_of_layers_are_refused(
    model: BigGAN, expected: dict[str, torch.Tensor]
) -> None:
    z = for_layers(model, expected["z"])[:, 1:]
    with pytest.raises(RuntimeError):
        model(z, expected["class_vector"], 0.4)


def test_gradients_reach_the_vectors_of_every_layer(model: BigGAN, expected: dict[str, torch.Tensor]) -> None:
    z = for_layers(model, expected["z"]).requires_grad_()
    classes = for_layers(model, torch.full((2, 10), 0.1)).requires_grad_()
    model(z, classes, 0.4).square().mean().backward()
    for vectors in (z, classes):
        assert vectors.grad is not None
        assert (vectors.grad.abs().amax(2) > 0).all()


def test_gradients_are_those_of_the_pictures(model: BigGAN, expected: dict[str, torch.Tensor]) -> None:
    """Against differences along one direction, the class vectors being mixtures."""
    torch.manual_seed(0)
    z, classes = expected["z"].clone(), torch.rand(2, 10).softmax(1)
    towards = torch.randn_like(z), torch.randn_like(classes)

    def score(step: float) -> torch.Tensor:
        moved = z + step * towards[0], classes + step * towards[1]
        return model(*moved, 0.4).square().sum()

    step = torch.zeros((), requires_grad=True)
    score(step).backward()
    assert step.grad is not None
    with torch.no_grad():
        difference = (score(1e-3) - score(-1e-3)) / 2e-3
    torch.testing.assert_close(step.grad, difference, rtol=0.02, atol=0.05)


def test_draws_and_differentiates_in_bfloat16(expected: dict[str, torch.Tensor]) -> None:
    model = load().to(torch.bfloat16).to(memory_format=torch.channels_last)
    z, classes = (expected[name].bfloat16().requires_grad_() for name in ("z", "class_vector"))
    images = model(z, classes, 0.4)
    images.float().square().mean().backward()
    assert images.dtype == torch.bfloat16
    for vectors in (z, classes):
        assert vectors.grad is not None
        assert vectors.grad.abs().sum() > 0
    wanted = expected["image_truncation_0.4"]
    assert (images.float() - wanted).abs().mean() < 0.05 * wanted.std()


def test_a_training_step_moves_every_parameter(expected: dict[str, torch.Tensor]) -> None:
    model = load().train().requires_grad_()
    stored = model.generator.bn.running_means.clone()
    images = model(expected["z"], expected["class_vector"], 1.0)
    images.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert torch.equal(model.generator.bn.running_means, stored)


def test_in_training_the_batch_is_normalised_by_its_own_statistics() -> None:
    norm = load().generator.bn.train()
    norm.weight.fill_(2)
    norm.bias.fill_(3)
    normed = norm(5 * torch.randn(4, 8, 16, 16) + 1, 1.0)
    torch.testing.assert_close(normed.mean((0, 2, 3)), torch.full((8,), 3.0), atol=1e-4, rtol=0.0)
    torch.testing.assert_close(normed.std((0, 2, 3)), torch.full((8,), 2.0), atol=0.01, rtol=0.0)


DEEP_256 = BigGANConfig()
DEEP_128 = dataclasses.replace(
    DEEP_256, output_dim=128, layers=DEEP_256.layers[:4] + ((False, 8, 8),) + DEEP_256.layers[7:]
)
DEEP_512 = dataclasses.replace(
    DEEP_256, output_dim=512, layers=(*DEEP_256.layers, (False, 1, 1), (True, 1, 1))
)


def parameters_of(config: BigGANConfig) -> int:
    """Counted from the layout of HuggingFace's checkpoints, ``weight_orig`` for each weight."""
    ch, condition = config.channel_width, config.z_dim + config.class_embed_dim

    def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
        return inputs * outputs * kernel**2 + outputs

    def block(inputs: int, outputs: int) -> int:
        middle = inputs // 4
        norms = 2 * condition * (inputs + 3 * middle)
        return norms + conv(inputs, middle, 1) + 2 * conv(middle, middle) + conv(middle, outputs, 1)

    embeddings = config.num_classes * config.class_embed_dim
    start = (condition + 1) * 16 * 16 * ch
    blocks = sum(block(inputs * ch, outputs * ch) for _, inputs, outputs in config.layers)
    attended = config.layers[config.attention_layer_position][1] * ch
    attention = 2 * attended * attended // 8 + 2 * attended * attended // 2 + 1
    return embeddings + start + blocks + attention + 2 * ch + conv(ch, ch)


@pytest.mark.parametrize(
    ("config", "exactly", "published"),
    [(DEEP_128, 50_388_609, 50.4), (DEEP_256, 55_880_833, 55.9), (DEEP_512, 56_163_905, 56.2)],
)
def test_has_the_size_of_the_published_networks(config: BigGANConfig, exactly: int, published: float) -> None:
    """Published in millions by the README of pytorch-pretrained-BigGAN."""
    with torch.device("meta"):
        model = BigGAN(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters_of(config) == exactly
    assert round(exactly / 1e6, 1) == published


def test_the_full_network_takes_a_guided_step() -> None:
    torch.manual_seed(0)
    model = BigGAN(DEEP_256).eval().requires_grad_(False)
    z = torch.randn(1, model.conditioning_layers, 128, requires_grad=True)
    classes = torch.full((1, model.conditioning_layers, 1000), 1e-3, requires_grad=True)
    images = model(z, classes, 0.4)
    assert images.shape == (1, 3, 256, 256)
    assert images.isfinite().all()
    images.square().mean().backward()
    assert z.grad is not None
    assert classes.grad is not None
    assert (z.grad.abs().amax(2) > 0).all()


def test_a_configuration_survives_its_file(tmp_path: Path) -> None:
    for config in (DEEP_256, DEEP_512, BigGANConfig.from_json(CONFIG)):
        config.to_json(tmp_path / "config.json")
        assert BigGANConfig.from_json(tmp_path / "config.json") == config


def test_writes_a_configuration_as_the_original_does(tmp_path: Path) -> None:
    BigGANConfig.from_json(CONFIG).to_json(tmp_path / "config.json")
    assert json.loads((tmp_path / "config.json").read_text()) == json.loads(CONFIG.read_text())


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1, 2]", b"3", b'{"output_dim": 64', b"\xff\0", b"[" * 9999]
)
def test_refuses_a_file_that_describes_no_biggan(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"config\.json does not describe a BigGAN-deep\.$"):
        BigGANConfig.from_json(file)


@pytest.mark.parametrize(
    "wrong",
    [
        {"output_dim": 128},
        {"layers": []},
        {"layers": [[True, 16, 16]]},
        {"layers": [[True, 16, 8], [True, 16, 8], [True, 8, 1], [True, 1, 1]]},
        {"layers": [[True, 16, 1], [True, 1, 2], [True, 2, 1], [True, 1, 1]]},
        {"layers": 5},
        {"n_stats": 1},
        {"eps": 0},
        {"channel_width": 4},
        {"z_dim": "wide"},
    ],
)
def test_refuses_sizes_that_do_not_fit_one_another(wrong: dict[str, object], tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(CONFIG.read_text()) | wrong))
    with pytest.raises(ValueError, match="does not describe a BigGAN-deep"):
        BigGANConfig.from_json(file)
