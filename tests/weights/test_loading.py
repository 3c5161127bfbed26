"""Weights files become networks that are ready for use."""

import json
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import CLIPConfig, CLIPModel, PreTrainedTokenizerFast

from generators.shelf import Shelf
from networks.biggan import BigGAN, BigGANConfig
from networks.latent_flow import LatentFlow, LatentFlowConfig, save_prior
from networks.vqgan import VQGAN, VQGANConfig
from weights.errors import WeightsError
from weights.loading import OPENAI_MEAN, load_biggan, load_clip, load_prior, load_vqgan
from weights.reader import read_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden"
TINY = VQGANConfig(
    ch=32,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_resolutions=(8,),
    resolution=16,
    z_channels=8,
    embed_dim=4,
    n_embed=16,
)


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy, for beside checkpoints their conversions are kept."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "golden"))


@pytest.fixture
def saved_vqgan(tmp_path: Path) -> tuple[Path, Path, VQGAN]:
    torch.manual_seed(0)
    model = VQGAN(TINY)
    config, weights = tmp_path / "vqgan.yaml", tmp_path / "vqgan.safetensors"
    TINY.to_yaml(config)
    save_file(model.state_dict(), weights)
    return config, weights, model


def assert_frozen(model: torch.nn.Module) -> None:
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())


def assert_same_weights(model: torch.nn.Module, other: torch.nn.Module) -> None:
    state = other.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_loads_a_vqgan_from_safetensors(saved_vqgan: tuple[Path, Path, VQGAN]) -> None:
    config, weights, original = saved_vqgan
    model = load_vqgan(config, weights, "cpu")
    assert_frozen(model)
    assert_same_weights(model, original)


def test_loads_half_precision_weights_in_float32(saved_vqgan: tuple[Path, Path, VQGAN]) -> None:
    config, weights, original = saved_vqgan
    save_file({name: tensor.half() for name, tensor in original.state_dict().items()}, weights)
    assert load_vqgan(config, weights, "cpu").codebook.dtype == torch.float32


@pytest.mark.parametrize("name", ["vqgan", "vqgan_gumbel"])
def test_loads_an_original_checkpoint(name: str, golden: Path) -> None:
    expected = torch.load(GOLDEN / f"{name}.expected.pt", weights_only=True)
    for _ in ("as it was published", "converted"):
        model = load_vqgan(golden / f"{name}.yaml", golden / f"{name}.ckpt", "cpu")
        assert_frozen(model)
        torch.testing.assert_close(
            model.decode(expected["quantized"]), expected["reconstruction"], atol=1e-4, rtol=0.0
        )


def test_loads_the_first_stage_of_a_transformers_checkpoint(
    saved_vqgan: tuple[Path, Path, VQGAN], tmp_path: Path
) -> None:
    config, _, original = saved_vqgan
    state = {f"first_stage_model.{name}": tensor for name, tensor in original.state_dict().items()}
    others = {"first_stage_model.loss.logvar": torch.ones(1), "transformer.tok_emb.weight": torch.ones(2, 2)}
    torch.save({"state_dict": {**state, **others}}, tmp_path / "transformer.ckpt")
    assert_same_weights(load_vqgan(config, tmp_path / "transformer.ckpt", "cpu"), original)


def test_weights_of_another_configuration_are_refused(saved_vqgan: tuple[Path, Path, VQGAN]) -> None:
    _, weights, _ = saved_vqgan
    with pytest.raises(WeightsError, match=r"vqgan\.safetensors does not fit .*vqgan\.yaml; install the two"):
        load_vqgan(GOLDEN / "vqgan.yaml", weights, "cpu")


def test_a_missing_configuration_is_named(saved_vqgan: tuple[Path, Path, VQGAN]) -> None:
    config, weights, _ = saved_vqgan
    config.unlink()
    with pytest.raises(WeightsError, match=r"vqgan\.yaml"):
        load_vqgan(config, weights, "cpu")


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x08\0\0\0\0\0\0\0{}      rest"])
def test_damaged_safetensors_are_refused(saved_vqgan: tuple[Path, Path, VQGAN], content: bytes) -> None:
    config, weights, _ = saved_vqgan
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"vqgan\.safetensors is damaged; install it again"):
        load_vqgan(config, weights, "cpu")


def test_missing_safetensors_are_named(saved_vqgan: tuple[Path, Path, VQGAN]) -> None:
    config, weights, _ = saved_vqgan
    weights.unlink()
    with pytest.raises(WeightsError, match=r"vqgan\.safetensors cannot be read"):
        load_vqgan(config, weights, "cpu")


GOLDEN_BIGGAN = GOLDEN / "biggan_deep.config.json", GOLDEN / "biggan_deep.bin"


@pytest.fixture
def golden_biggan(golden: Path) -> tuple[Path, Path]:
    config, checkpoint = GOLDEN_BIGGAN
    return golden / config.name, golden / checkpoint.name


@pytest.fixture
def saved_biggan(tmp_path: Path) -> tuple[Path, Path, BigGAN]:
    """As a training of ours would save it: plain weights."""
    torch.manual_seed(0)
    layers = ((True, 16, 4), (False, 4, 4), (True, 4, 1))
    model = BigGAN(BigGANConfig(16, 4, 6, 8, num_classes=3, layers=layers, attention_layer_position=1))
    config, weights = tmp_path / "biggan.json", tmp_path / "biggan.safetensors"
    model.config.to_json(config)
    save_file(model.state_dict(), weights)
    return config, weights, model


def test_loads_an_original_biggan(golden_biggan: tuple[Path, Path]) -> None:
    expected = torch.load(GOLDEN / "biggan_deep.expected.pt", weights_only=True)
    for _ in ("as it was published", "converted"):
        model = load_biggan(*golden_biggan)
        assert_frozen(model)
        images = model(expected["z"], expected["class_vector"], 0.4)
        torch.testing.assert_close(images, expected["image_truncation_0.4"], atol=1e-4, rtol=0.0)


def test_loads_an_original_biggan_kept_as_safetensors(
    golden_biggan: tuple[Path, Path], tmp_path: Path
) -> None:
    config, checkpoint = golden_biggan
    save_file(read_checkpoint(checkpoint), tmp_path / "biggan.safetensors")
    assert_same_weights(load_biggan(config, tmp_path / "biggan.safetensors"), load_biggan(config, checkpoint))


def test_loads_a_biggan_as_old_and_as_strided_as_the_published_ones(
    golden_biggan: tuple[Path, Path], tmp_path: Path
) -> None:
    """Written by PyTorch 1.0, the weights transposed from TensorFlow's without moving a number."""
    config, checkpoint = golden_biggan
    state = read_checkpoint(checkpoint)
    for name, tensor in state.items():
        if tensor.dim() == 4:
            state[name] = tensor.permute(2, 3, 1, 0).contiguous().permute(3, 2, 0, 1)
    torch.save(state, tmp_path / "biggan.bin", _use_new_zipfile_serialization=False)
    for _ in ("as it was published", "converted"):
        model = load_biggan(config, tmp_path / "biggan.bin")
        assert_same_weights(model, load_biggan(config, checkpoint))
        assert all(tensor.is_contiguous() for tensor in model.state_dict().values())


def test_loads_a_biggan_of_plain_weights_in_float32(saved_biggan: tuple[Path, Path, BigGAN]) -> None:
    config, weights, original = saved_biggan
    model = load_biggan(config, weights)
    assert_frozen(model)
    assert_same_weights(model, original)
    save_file({name: tensor.half() for name, tensor in original.state_dict().items()}, weights)
    assert {tensor.dtype for tensor in load_biggan(config, weights).state_dict().values()} == {torch.float32}


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, GOLDEN_BIGGAN[1].read_bytes()[:100_000]])
def test_a_damaged_biggan_is_refused(content: bytes, tmp_path: Path) -> None:
    for name in ("biggan.bin", "biggan.safetensors"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(WeightsError, match=rf"{name} is damaged.*; install it again\.$"):
            load_biggan(GOLDEN_BIGGAN[0], tmp_path / name)


def test_a_missing_biggan_is_named(saved_biggan: tuple[Path, Path, BigGAN]) -> None:
    config, weights, _ = saved_biggan
    with pytest.raises(WeightsError, match=r"gone\.bin cannot be read"):
        load_biggan(config, weights.with_name("gone.bin"))
    config.unlink()
    with pytest.raises(WeightsError, match=r"biggan\.json does not describe a BigGAN-deep"):
        load_biggan(config, weights)


def test_weights_of_something_else_are_no_biggan(
    saved_biggan: tuple[Path, Path, BigGAN], saved_vqgan: tuple[Path, Path, VQGAN], golden: Path
) -> None:
    config, weights, _ = saved_biggan
    foreign = [golden / "vqgan.ckpt", saved_vqgan[1], golden / GOLDEN_BIGGAN[1].name]
    for path in foreign:
        with pytest.raises(WeightsError, match=rf"{path.name} does not fit .*biggan\.json; install the two"):
            load_biggan(config, path)
    with pytest.raises(WeightsError, match="does not describe a BigGAN-deep"):
        load_biggan(GOLDEN / "vqgan.yaml", weights)


@pytest.mark.parametrize(
    "spoiled",
    [
        {"generator.gen_z.weight_u": torch.ones(3)},
        {"generator.gen_z.weight_orig": torch.ones(())},
        {"generator.gen_z.weight_v": None},
        {"generator.bn.running_means": torch.zeros(50, 8)},
    ],
)
def test_a_biggan_with_a_tensor_of_another_kind_is_refused(
    spoiled: dict[str, torch.Tensor | None], tmp_path: Path
) -> None:
    tensors = {**read_checkpoint(GOLDEN_BIGGAN[1]), **spoiled}
    torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None}, tmp_path / "b.bin")
    with pytest.raises(WeightsError, match=r"b\.bin does not fit"):
        load_biggan(GOLDEN_BIGGAN[0], tmp_path / "b.bin")


def test_a_biggan_too_large_for_any_machine_is_refused_at_once(
    saved_biggan: tuple[Path, Path, BigGAN],
) -> None:
    config, weights, _ = saved_biggan
    for width in (10**6, 10**15):
        config.write_text(json.dumps(json.loads(config.read_text()) | {"channel_width": width}))
        with pytest.raises(WeightsError, match="does not fit"):
            load_biggan(config, weights)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    words = {"[PAD]": 0, "[UNK]": 1, "red": 2, "circle": 3}
    narrow = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    text = {**narrow, "vocab_size": len(words), "max_position_embeddings": 8}
    vision = {**narrow, "image_size": 16, "patch_size": 8}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", model_max_length=8
    ).save_pretrained(folder)
    return folder


def test_loads_a_clip_and_its_tokenizer(clip_folder: Path) -> None:
    model, tokenizer, mean, _ = load_clip(clip_folder, "cpu")
    assert mean == OPENAI_MEAN
    assert_frozen(model)
    assert model.config._attn_implementation == "eager"
    assert tokenizer("red circle")["input_ids"] == [2, 3]


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_an_incomplete_clip_is_refused(clip_folder: Path, tmp_path: Path, lost: str) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    (folder / lost).unlink()
    with pytest.raises(WeightsError, match="clip holds no whole CLIP with its tokenizer; install it again"):
        load_clip(folder, "cpu")


@pytest.fixture
def pickled_clip(clip_folder: Path, tmp_path: Path) -> Path:
    """A folder whose weights are a PyTorch checkpoint only, as the first CLIPs were published."""
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    positions = {"vision_model.embeddings.position_ids": torch.arange(5)[None]}  # as their transformers wrote
    torch.save(OrderedDict({**tensors, **positions}), folder / "pytorch_model.bin")
    return folder


def test_loads_a_clip_that_was_published_as_a_checkpoint_only(pickled_clip: Path, clip_folder: Path) -> None:
    for _ in ("as it was published", "converted"):
        model = load_clip(pickled_clip).model
        assert_frozen(model)
        assert_same_weights(model, load_clip(clip_folder).model)
    assert sorted(path.name for path in pickled_clip.iterdir()) == [
        "config.json",
        "pytorch_model.bin",
        "pytorch_model.bin.converted",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_loads_a_clip_of_half_precision_in_float32(pickled_clip: Path) -> None:
    file = pickled_clip / "pytorch_model.bin"
    torch.save({name: tensor.half() for name, tensor in read_checkpoint(file).items()}, file)
    assert {tensor.dtype for tensor in load_clip(pickled_clip).model.parameters()} == {torch.float32}


@pytest.mark.parametrize("spoiled", [None, torch.zeros(3)])
def test_a_clip_without_a_tensor_or_with_another_is_refused(
    pickled_clip: Path, spoiled: torch.Tensor | None
) -> None:
    file = pickled_clip / "pytorch_model.bin"
    tensors = {**read_checkpoint(file), "visual_projection.weight": spoiled}
    torch.save({name: tensor for name, tensor in tensors.items() if tensor is not None}, file)
    with pytest.raises(WeightsError, match="holds no whole CLIP"):
        load_clip(pickled_clip)


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickled_clip_runs_no_code(pickled_clip: Path, tmp_path: Path) -> None:
    mark = tmp_path / "sprung"
    torch.save({"model": Trap(mark)}, pickled_clip / "pytorch_model.bin")
    with pytest.raises(WeightsError):
        load_clip(pickled_clip)
    assert not mark.exists()
    torch.load(pickled_clip / "pytorch_model.bin", weights_only=False)
    assert mark.exists()


def test_another_network_is_no_clip(clip_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    shutil.copytree(clip_folder, folder)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(WeightsError, match="holds no whole CLIP"):
        load_clip(folder)


def test_a_missing_clip_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="gone holds no whole CLIP"):
        load_clip(tmp_path / "gone", "cpu")


@pytest.fixture
def saved_prior(tmp_path: Path) -> Path:
    path = tmp_path / "prior.safetensors"
    config = LatentFlowConfig(8, directions=4, grid=4, vocabulary=5, context=6, width=16, layers=1)
    save_prior(LatentFlow(config), path)
    return path


def test_loads_a_prior(saved_prior: Path) -> None:
    prior = load_prior(saved_prior)
    assert_frozen(prior)
    assert prior.config.grid == 4
    assert prior.words.weight.dtype == torch.float32


def test_a_prior_that_is_missing_damaged_or_something_else_is_refused(saved_prior: Path) -> None:
    save_file({"w": torch.ones(1)}, saved_prior.with_name("other.safetensors"))
    saved_prior.write_bytes(saved_prior.read_bytes()[:-8])
    for name in ("gone.safetensors", "other.safetensors", saved_prior.name):
        with pytest.raises(WeightsError, match=f"{name} is missing, damaged or no prior; install it again"):
            load_prior(saved_prior.with_name(name))


def out_of_memory(*_: object, **__: object) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory.")


def short_of_memory(*_: object, **__: object) -> None:
    raise MemoryError


@pytest.mark.parametrize("refuse", [out_of_memory, short_of_memory])
@pytest.mark.parametrize(
    ("network", "load"),
    [
        (VQGAN, lambda folder: load_vqgan(folder / "vqgan.yaml", folder / "vqgan.ckpt")),
        (BigGAN, lambda folder: load_biggan(folder / "biggan_deep.config.json", folder / "biggan_deep.bin")),
    ],
)
def test_running_out_of_memory_is_no_damage(
    network: type, load: Any, refuse: Any, golden: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "load_state_dict", refuse)
    with pytest.raises((torch.OutOfMemoryError, MemoryError)):
        load(golden)


@pytest.mark.parametrize("refuse", [out_of_memory, short_of_memory])
def test_running_out_of_memory_is_no_damage_of_a_clip_or_a_prior(
    clip_folder: Path, saved_prior: Path, refuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CLIPModel, "from_pretrained", refuse)
    monkeypatch.setattr(LatentFlow, "load_state_dict", refuse)
    for load in (lambda: load_clip(clip_folder), lambda: load_prior(saved_prior)):
        with pytest.raises((torch.OutOfMemoryError, MemoryError)):
            load()


def test_where_memory_is_short_all_other_networks_leave_and_loading_is_tried_again(
    saved_vqgan: tuple[Path, Path, VQGAN], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, weights, original = saved_vqgan
    shelf = Shelf()
    shelf.take("other", lambda: ("networks", 1), None)
    whole = VQGAN.load_state_dict

    def load_once_alone(model: VQGAN, *state: Any) -> Any:
        return out_of_memory() if "other" in shelf else whole(model, *state)

    monkeypatch.setattr(VQGAN, "load_state_dict", load_once_alone)
    assert_same_weights(shelf.take("vqgan", lambda: (load_vqgan(config, weights), 1), None), original)
