"""The captions' tokenizer: every caption whole, any other text harmless."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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
