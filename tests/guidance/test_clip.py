"""A CLIP of any family, read from its folder, gives what transformers itself computes."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedModel,
    SiglipConfig,
    SiglipModel,
)

from guidance.clip import Clip
from weights.loading import OPENAI_MEAN, OPENAI_STD

CONTEXT = 8
VIEW = 16
TEXTS = ["Red", "a red red a", "red a " * CONTEXT]
TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TOWER, "image_size": VIEW, "patch_size": 8}
SIGLIP_IMAGES = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def save_clip(folder: Path, hidden_act: str) -> CLIPModel:
    """As OpenAI (``quick_gelu``) and LAION (``gelu``) publish theirs."""
    words = ["r", "e", "d", "d</w>", "re", "red</w>", "a</w>", "<|startoftext|>", "<|endoftext|>"]
    text = {
        **TOWER,
        "vocab_size": 9,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": 7,
        "eos_token_id": 8,
    }
    config = CLIPConfig(
        text_config={**text, "hidden_act": hidden_act},
        vision_config={**VISION, "hidden_act": hidden_act},
        projection_dim=12,
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    vocabulary = {word: number for number, word in enumerate(words)}
    CLIPTokenizer(vocab=vocabulary, merges=[("r", "e"), ("re", "d</w>")]).save_pretrained(folder)
    return model


def save_siglip(folder: Path) -> SiglipModel:
    """As Google publishes its own: all in lower case, the end of a text filling it up."""
    text = {**TOWER, "vocab_size": 4, "max_position_embeddings": CONTEXT, "projection_size": 16}
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
    model = SiglipModel(SiglipConfig(text_config={**text, **special}, vision_config=VISION)).eval()
    model.save_pretrained(folder)
    pieces = [("</s>", 0.0), ("<unk>", 0.0), ("▁red", -1.0), ("▁a", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=1))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 0)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"tokenizer_class": "SiglipTokenizer", "eos_token": "</s>", "pad_token": "</s>"}
    described = {**names, "unk_token": "<unk>", "model_input_names": ["input_ids"], "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    (folder / "preprocessor_config.json").write_text(json.dumps(SIGLIP_IMAGES))
    return model


def save(family: str, folder: Path) -> PreTrainedModel:
    torch.manual_seed(0)
    if family == "siglip":
        return save_siglip(folder)
    return save_clip(folder, "quick_gelu" if family == "openai" else "gelu")


IDS = {
    "openai": ([7, 5, 8], [7, 6, 5, 5, 6, 8], [7, 5, 6, 5, 6, 5, 6, 8]),
    "siglip": ([2, 0], [3, 2, 2, 3, 0], [2, 3, 2, 3, 2, 3, 2, 0]),
}
IDS["laion"] = IDS["openai"]


@pytest.fixture(params=IDS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def original(family: str, tmp_path: Path) -> PreTrainedModel:
    return save(family, tmp_path)


@pytest.fixture
def clip(original: PreTrainedModel, tmp_path: Path) -> Clip:
    return Clip.load(tmp_path, "cpu", torch.float32)


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    torch.testing.assert_close(ours, F.normalize(theirs, dim=-1), atol=1e-5, rtol=0.0)


@torch.no_grad()
def test_texts_become_the_vectors_that_transformers_computes(
    clip: Clip, original: PreTrainedModel, family: str
) -> None:
    ours = clip.encode_text(TEXTS)
    for vector, ids in zip(ours, IDS[family], strict=True):
        if family == "siglip":  # its model card: padding="max_length", without an attention mask
            ids = ids + [0] * (CONTEXT - len(ids))
        assert_same(vector[None], original.get_text_features(torch.tensor([ids])).pooler_output)


@torch.no_grad()
def test_views_become_the_vectors_that_transformers_computes(
    clip: Clip, original: PreTrainedModel, family: str
) -> None:
    assert clip.view == VIEW
    views = torch.rand(3, 3, VIEW, VIEW)
    mean, std = ((0.5,) * 3, (0.5,) * 3) if family == "siglip" else (OPENAI_MEAN, OPENAI_STD)
    pixels = (views - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    theirs = original.get_image_features(pixels).pooler_output
    assert_same(clip.encode_images(views), theirs)
    assert_same(clip.encode_images(views[:1]), theirs[:1])


def test_the_heard_tokens_are_the_texts_own_unless_the_filling_counts(clip: Clip, family: str) -> None:
    ids, heard = clip.tokens(TEXTS[:2])
    lengths = [CONTEXT, CONTEXT] if family == "siglip" else [3, 6]
    assert heard.sum(1).tolist() == lengths
    assert ids.shape == heard.shape == (2, max(lengths))


def test_gradients_reach_the_views_in_bfloat16_too(original: PreTrainedModel, tmp_path: Path) -> None:
    precise = Clip.load(tmp_path, "cpu", torch.float32)
    quick = Clip.load(tmp_path, "cpu", torch.bfloat16)
    views = torch.rand(2, 3, VIEW, VIEW, requires_grad=True)
    text = precise.encode_text(TEXTS[:1])[0]
    assert torch.equal(quick.encode_text(TEXTS[:1])[0], text)
    scores = quick.encode_images(views) @ text
    scores.sum().backward()
    assert scores.dtype == torch.float32
    torch.testing.assert_close(scores, precise.encode_images(views) @ text, atol=0.05, rtol=0.0)
    assert views.grad is not None
    assert views.grad.abs().sum() > 0
