"""Our VQGAN against tensors made by the original one, and against its size."""

import dataclasses
from pathlib import Path

import pytest
import torch

from networks.vqgan import VQGAN, VQGANConfig
from weights.reader import read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"


def load(name: str) -> VQGAN:
    model = VQGAN(VQGANConfig.from_yaml(GOLDEN / f"{name}.yaml"))
    model.load_state_dict(read_checkpoint(GOLDEN / f"{name}.ckpt"))
    return model.eval().requires_grad_(False)


def load_expected(name: str) -> dict[str, torch.Tensor]:
    return torch.load(GOLDEN / f"{name}.expected.pt", weights_only=True)


@pytest.fixture(params=["vqgan", "vqgan_gumbel"], scope="module")
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def model(name: str) -> VQGAN:
    return load(name)


@pytest.fixture(scope="module")
def expected(name: str) -> dict[str, torch.Tensor]:
    return load_expected(name)


def assert_close(actual: torch.Tensor, wanted: torch.Tensor) -> None:
    torch.testing.assert_close(actual, wanted, atol=1e-4, rtol=0.0)


def test_encodes_as_the_original(model: VQGAN, expected: dict[str, torch.Tensor]) -> None:
    assert_close(model.encode(expected["x"]), expected["pre_quant"])


def test_quantizes_as_the_original(model: VQGAN, expected: dict[str, torch.Tensor]) -> None:
    quantized, indices = model.quantize(expected["pre_quant"])
    assert torch.equal(indices.flatten(), expected["indices"].flatten())
    assert_close(quantized, expected["quantized"])


def test_decodes_as_the_original(model: VQGAN, expected: dict[str, torch.Tensor]) -> None:
    assert_close(model.decode(expected["quantized"]), expected["reconstruction"])


def test_embeds_codes_as_quantization_does(model: VQGAN, expected: dict[str, torch.Tensor]) -> None:
    quantized, indices = model.quantize(expected["pre_quant"])
    assert torch.equal(model.embed(indices), quantized)
    assert torch.equal(model.codebook[indices[0, 0, 0]], quantized[0, :, 0, 0])


def test_one_code_covers_downsampling_pixels(model: VQGAN, expected: dict[str, torch.Tensor]) -> None:
    height, width = expected["x"].shape[2:]
    _, indices = model.quantize(expected["pre_quant"])
    assert indices.shape[1:] == (height // model.downsampling, width // model.downsampling)


def test_nearest_codes_do_not_depend_on_autocast() -> None:
    expected = load_expected("vqgan")
    with torch.autocast("cpu", torch.bfloat16):
        _, indices = load("vqgan").quantize(expected["pre_quant"])
    assert torch.equal(indices.flatten(), expected["indices"])


def test_decodes_and_differentiates_in_bfloat16(name: str, expected: dict[str, torch.Tensor]) -> None:
    model = load(name).to(torch.bfloat16).to(memory_format=torch.channels_last)
    latent = expected["quantized"].bfloat16().requires_grad_()
    image = model.decode(latent)
    image.float().square().mean().backward()
    assert image.dtype == torch.bfloat16
    assert latent.grad is not None
    assert latent.grad.abs().sum() > 0
    difference = (image.float() - expected["reconstruction"]).abs().mean()
    assert difference < 0.05 * expected["reconstruction"].std()


F16_16384 = VQGANConfig()
F16_1024 = dataclasses.replace(F16_16384, n_embed=1024)
GUMBEL_F8 = dataclasses.replace(
    F16_16384, ch_mult=(1, 1, 2, 4), attn_resolutions=(32,), n_embed=8192, gumbel=True
)


def parameters_of(config: VQGANConfig) -> int:
    """Counted from the layout that the paper's appendix gives, not from our modules."""

    def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
        return inputs * outputs * kernel**2 + outputs

    def block(inputs: int, outputs: int) -> int:
        norms = 2 * inputs + 2 * outputs
        shortcut = conv(inputs, outputs, 1) if inputs != outputs else 0
        return norms + conv(inputs, outputs) + conv(outputs, outputs) + shortcut

    def attention(channels: int) -> int:
        return 2 * channels + 4 * conv(channels, channels, 1)

    def levels(widths: list[int], start: int, blocks: int) -> int:
        """Blocks with their attention, from one width to the next, and what resamples between them."""
        inputs = [start, *widths[:-1]]
        convolved = sum(
            block(first, width) + (blocks - 1) * block(width, width)
            for first, width in zip(inputs, widths, strict=True)
        )
        return convolved + blocks * attention(widest) + sum(conv(width, width) for width in widths[:-1])

    widths = [config.ch * multiple for multiple in config.ch_mult]
    widest = widths[-1]
    middle = 2 * block(widest, widest) + attention(widest)
    encoder = conv(3, config.ch) + levels(widths, config.ch, config.num_res_blocks) + middle
    encoder += 2 * widest + conv(widest, config.z_channels)
    decoder = conv(config.z_channels, widest) + middle
    decoder += levels(widths[::-1], widest, config.num_res_blocks + 1) + 2 * config.ch + conv(config.ch, 3)
    codes = config.n_embed * config.embed_dim
    choice = conv(config.embed_dim, config.n_embed, 1) if config.gumbel else 0
    return encoder + decoder + codes + choice + 2 * conv(config.z_channels, config.embed_dim, 1)


@pytest.mark.parametrize(
    ("config", "exactly"), [(F16_1024, 72_141_699), (F16_16384, 76_073_859), (GUMBEL_F8, 68_995_971)]
)
def test_has_as_many_parameters_as_the_paper_lays_out(config: VQGANConfig, exactly: int) -> None:
    """Computed: the authors publish sizes of layers and of files, but no counts."""
    with torch.device("meta"):
        model = VQGAN(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters_of(config) == exactly
    assert model.downsampling == (8 if config.gumbel else 16)


@pytest.mark.parametrize(
    ("config", "discriminator", "megabytes"),
    [(F16_1024, 2_765_633, 958), (F16_16384, 663_361, 980), (F16_16384, 2_765_633, 1005)],
)
def test_fills_the_published_checkpoints(config: VQGANConfig, discriminator: int, megabytes: int) -> None:
    """The files of ImageNet 1024, ImageNet 16384 and WikiArt, in megabytes as their servers list them.

    Each holds float32 numbers: the network and a patch discriminator (of three layers, or of two) with
    Adam's two moments, and the perceptual loss (VGG16's convolutions and 1,472 weights) without any.
    """
    perceptual = 14_714_688 + 1_472
    numbers = 3 * (parameters_of(config) + discriminator) + perceptual
    assert round(4 * numbers / 1e6) == megabytes


def test_the_full_network_takes_a_guided_step() -> None:
    torch.manual_seed(0)
    model = VQGAN(F16_16384).to(torch.bfloat16).to(memory_format=torch.channels_last)
    model.eval().requires_grad_(False)
    latent = model.embed(torch.randint(F16_16384.n_embed, (1, 16, 16))).requires_grad_()
    quantized, _ = model.quantize(latent.detach())
    images = model.decode(latent + (quantized - latent).detach())
    assert images.shape == (1, 3, 256, 256)
    assert images.isfinite().all()
    images.float().square().mean().backward()
    assert latent.grad is not None
    assert (latent.grad.abs().amax(1) > 0).all()


def test_a_configuration_survives_its_file(model: VQGAN, tmp_path: Path) -> None:
    model.config.to_yaml(tmp_path / "model.yaml")
    assert VQGANConfig.from_yaml(tmp_path / "model.yaml") == model.config


def test_reads_the_first_stage_of_a_transformer(name: str, model: VQGAN, tmp_path: Path) -> None:
    lines = (GOLDEN / f"{name}.yaml").read_text().splitlines()
    nested = "\n".join(
        ["model:", "  params:", "    first_stage_config:", *(f"    {line}" for line in lines[1:])]
    )
    file = tmp_path / "transformer.yaml"
    file.write_text(nested + "\n  target: taming.models.cond_transformer.Net2NetTransformer\n")
    assert VQGANConfig.from_yaml(file) == model.config


@pytest.mark.parametrize("text", ["", "model: 3", "[1, 2]", "model: {params: {}}", "a: [", "\0"])
def test_refuses_a_file_that_describes_no_vqgan(text: str, tmp_path: Path) -> None:
    file = tmp_path / "model.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match="does not describe a VQGAN"):
        VQGANConfig.from_yaml(file)
