"""The captions' tokenizer: every caption whole, any other text harmless."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import CLIPModel

from sandbox.recipes.clip import clip_config
from sandbox.scenes import captions, sample_scene, vocabulary
from sandbox.tokenizer import BEGIN, CONTEXT, END, UNKNOWN, build_tokenizer, tokenize


@pytest.fixture(scope="module")
def ids() -> dict[str, int]:
    return build_tokenizer().get_vocab()


def test_every_caption_fits_and_is_known(ids: dict[str, int]) -> None:
    texts = [caption.text for seed in range(300) for caption in captions(sample_scene(seed))]
    tokens = tokenize(texts)
    assert tokens.shape == (len(texts), CONTEXT)
    assert not (tokens == ids[UNKNOWN]).any()
    assert ((tokens == ids[END]).sum(1) == 1).all()


def test_case_and_punctuation_do_not_matter() -> None:
    assert tokenize(["A red, circle!"]).tolist() == tokenize(["a red circle"]).tolist()


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=300))
def test_any_text_becomes_tokens(text: str) -> None:
    tokens = tokenize([text])[0].tolist()
    vocab = build_tokenizer().get_vocab()
    assert tokens[0] == vocab[BEGIN]
    assert all(0 <= token < len(vocab) for token in tokens)
    assert len(vocab) == len(vocabulary()) + 4


def test_clip_hears_the_last_word_as_well_as_the_first() -> None:
    torch.manual_seed(0)
    clip = CLIPModel(clip_config()).eval()
    text = "a red circle above a yellow star"
    tokens = tokenize([text, text.replace("star", "cross"), text.replace("circle", "ring")])
    with torch.no_grad():
        pooled = clip.text_model(input_ids=tokens, attention_mask=(tokens != 0).long()).pooler_output
    assert not torch.allclose(pooled[0], pooled[1])
    assert not torch.allclose(pooled[0], pooled[2])
