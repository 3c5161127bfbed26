"""Weights files to networks ready for use: frozen, in evaluation mode, on their device."""

import json
from collections.abc import Callable, Iterator
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
from weights.conversion import read_converted
from weights.errors import WeightsError
from weights.memory import is_out_of_memory, told_unless_out_of_memory
from weights.reader import within

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
    tensors = _read_tensors(weights_path, FIRST_STAGE)
    with _told_when_unfit(weights_path, config_path):
        with torch.device("meta"):
            model = VQGAN(config)
        model.to_empty(device=device)
        model.load_state_dict(tensors)
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
    incomplete = f"{folder} holds no whole CLIP with its tokenizer; install it again."
    with told_unless_out_of_memory(incomplete):  # transformers raises many kinds for a bad folder
        model = _clip_model(folder)
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        mean, std = _normalisation(folder)
    return ClipParts(model.to(device).eval().requires_grad_(False), tokenizer, mean, std)


def load_prior(path: Path, device: str = "cpu") -> LatentFlow:
    """Load the prior of a set of weights in float32.

    Raises:
        WeightsError: the file is missing, damaged or no prior.
    """
    useless = f"{path} is missing, damaged or no prior; install it again."
    with told_unless_out_of_memory(useless):  # a header that anyone may have written can be wrong in any way
        return latent_flow.load_prior(path, device)


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
        if is_out_of_memory(error):
            raise
        raise WeightsError(
            f"{weights_path} does not fit {config_path}; install the two from the same source."
        ) from error


def _read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """What is under ``prefix`` where anything is, else everything."""
    try:
        if path.suffix != ".safetensors":
            return read_converted(path, prefix)
        return within(load_file(path), prefix)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read; install it again.") from error
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged; install it again.") from error
