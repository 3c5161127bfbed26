"""Our VQGAN against tensors made by the original one, and against its size."""

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


def test_has_the_size_of_the_published_f16_network() -> None:
    """Parameters counted from the paper's layout: widths 128 to 512, attention at 16 x 16, 256 channels."""

    def conv(inputs: int, outputs: int, kernel: int = 3) -> int:
        return inputs * outputs * kernel**2 + outputs

    def block(inputs: int, outputs: int) -> int:
        norms = 2 * inputs + 2 * outputs
        shortcut = conv(inputs, outputs, 1) if inputs != outputs else 0
        return norms + conv(inputs, outputs) + conv(outputs, outputs) + shortcut

    attention = 2 * 512 + 4 * conv(512, 512, 1)
    middle = 2 * block(512, 512) + attention
    down = [(128, 128), (128, 128), (128, 128), (128, 128), (128, 256), (256, 256), (256, 256), (256, 256)]
    down += [(256, 512), (512, 512)]
    up = [(512, 512)] * 3 + [(512, 256), (256, 256), (256, 256)] + [(256, 256)] * 3
    up += [(256, 128), (128, 128), (128, 128)] + [(128, 128)] * 3
    resample_down = 2 * conv(128, 128) + 2 * conv(256, 256)
    resample_up = conv(512, 512) + 2 * conv(256, 256) + conv(128, 128)
    encoder = conv(3, 128) + sum(block(*io) for io in down) + 2 * attention + resample_down + middle
    encoder += 2 * 512 + conv(512, 256)
    decoder = conv(256, 512) + middle + sum(block(*io) for io in up) + 3 * attention + resample_up
    decoder += 2 * 128 + conv(128, 3)
    whole = encoder + decoder + 16384 * 256 + 2 * conv(256, 256, 1)

    with torch.device("meta"):
        model = VQGAN(VQGANConfig())
    assert sum(parameter.numel() for parameter in model.parameters()) == whole == 76_073_859
    assert model.downsampling == 16


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
