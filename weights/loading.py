"""Weights files to networks ready for use: frozen, in evaluation mode, on their device."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoConfig,
    CLIPModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
    SiglipModel,
)

from networks import latent_flow
from networks.biggan import BigGAN, BigGANConfig, fold_spectral_norm
from networks.latent_flow import LatentFlow
from networks.vqgan import VQGAN, VQGANConfig
from weights.errors import WeightsError
from weights.reader import read_checkpoint

FIRST_STAGE = "first_stage_model."
"""Where a Net2NetTransformer's checkpoint keeps its VQGAN."""

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)


CLIP_FAMILIES: dict[str, type[CLIPModel | SiglipModel]] = {"clip": CLIPModel, "siglip": SiglipModel}
CLIP_WEIGHTS = ("model.safetensors", "pytorch_model.bin")

Config = TypeVar("Config")


class ClipParts(NamedTuple):
    """A CLIP, its tokenizer, and the mean and deviation a channel by which it wants pictures normalised."""

    model: CLIPModel | SiglipModel
    tokenizer: PreTrainedTokenizerBase
    mean: tuple[float, ...]
    std: tuple[float, ...]


def load_vqgan(config_path: Path, weights_path: Path, device: str = "cpu") -> VQGAN:
    """Load a VQGAN in float32 from safetensors or an original checkpoint.

    ``config_path`` is a yaml file in the original's layout. The checkpoint may be a VQModel's, a GumbelVQ's
    or a Net2NetTransformer's, whose first stage is taken.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    config = _read_config(VQGANConfig.from_yaml, config_path)
    tensors = _read_tensors(weights_path)
    with _told_when_unfit(weights_path, config_path):
        with torch.device("meta"):
            model = VQGAN(config)
        model.to_empty(device=device)
        model.load_state_dict(_first_stage(tensors))
    return model.eval().requires_grad_(False)


def load_biggan(config_path: Path, weights_path: Path, device: str = "cpu") -> BigGAN:
    """Load a BigGAN-deep in float32 from safetensors or an original checkpoint.

    ``config_path`` is a json file in the original's layout. The original's spectral normalisation is folded
    into plain weights.

    Raises:
        WeightsError: a file is missing or damaged, or the weights do not fit the configuration.
    """
    config = _read_config(BigGANConfig.from_json, config_path)
    # the original's were transposed from TensorFlow's and kept those strides
    tensors = {name: tensor.float().contiguous() for name, tensor in _read_tensors(weights_path).items()}
    with _told_when_unfit(weights_path, config_path):
        with torch.device("meta"):
            model = BigGAN(config)
        model.load_state_dict(fold_spectral_norm(tensors), assign=True)
    return model.to(device).eval().requires_grad_(False)


def load_clip(folder: Path, device: str = "cpu") -> ClipParts:
    """Load a CLIP or a SigLIP in float32 and its tokenizer from a folder as their publishers fill it.

    It holds ``config.json``, ``tokenizer.json``, ``tokenizer_config.json``, and the weights as
    ``model.safetensors`` or ``pytorch_model.bin``. Attention runs as plain products, whose backward is
    several times faster on CPUs. Nothing is downloaded and no code of the folder's runs. Without a
    ``preprocessor_config.json`` pictures are normalised as OpenAI's models want it.

    Raises:
        WeightsError: the folder is missing, incomplete or damaged.
    """
    try:
        model = _clip_model(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        mean, std = _normalisation(folder)
    except Exception as error:  # transformers raises many kinds for a bad folder
        raise WeightsError(f"{folder} holds no whole CLIP with its tokenizer; install it again.") from error
    return ClipParts(model.to(device).eval().requires_grad_(False), tokenizer, mean, std)


def load_prior(path: Path, device: str = "cpu") -> LatentFlow:
    """Load the prior of a set of weights in float32.

    Raises:
        WeightsError: the file is missing, damaged or no prior.
    """
    try:
        return latent_flow.load_prior(path, device)
    except Exception as error:  # a header that anyone may have written can be wrong in any way
        raise WeightsError(f"{path} is missing, damaged or no prior; install it again.") from error


def _clip_model(folder: Path) -> CLIPModel | SiglipModel:
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    weights = next(path for name in CLIP_WEIGHTS if (path := folder / name).exists())
    model, report = CLIP_FAMILIES[config.model_type].from_pretrained(
        None,
        config=config,
        state_dict=_read_tensors(weights),
        attn_implementation="eager",
        dtype=torch.float32,
        output_loading_info=True,
    )
    if report["missing_keys"]:  # they would be filled with random numbers
        raise LookupError(f"{weights} lacks {sorted(report['missing_keys'])}")
    return model


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    if not path.exists():
        return OPENAI_MEAN, OPENAI_STD
    config = json.loads(path.read_text())
    return tuple(map(float, config["image_mean"])), tuple(map(float, config["image_std"]))


def _read_config(read: Callable[[Path], Config], path: Path) -> Config:
    try:
        return read(path)
    except ValueError as error:
        raise WeightsError(f"{error} Install the weights again.") from error


@contextmanager
def _told_when_unfit(weights_path: Path, config_path: Path) -> Iterator[None]:
    """Turn what torch says of tensors that are missing, too many or of another shape into a sentence."""
    try:
        yield
    except (LookupError, RuntimeError) as error:
        raise WeightsError(
            f"{weights_path} does not fit {config_path}; install the two from the same source."
        ) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        return read_checkpoint(path)
    try:
        return load_file(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read; install it again.") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged; install it again.") from error


def _first_stage(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    found = {k.removeprefix(FIRST_STAGE): v for k, v in tensors.items() if k.startswith(FIRST_STAGE)}
    return found or tensors
