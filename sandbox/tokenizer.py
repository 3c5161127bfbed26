"""A word-level tokenizer for the sandbox's captions, in the format that transformers loads for CLIP."""

from functools import cache

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from sandbox.attributes import stated
from sandbox.scenes import Scene, captions, vocabulary

CONTEXT = 32
PAD, BEGIN, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
SPECIAL = (PAD, BEGIN, UNKNOWN, END)  # END must not be 2: for that id transformers pools elsewhere


@cache
def build_tokenizer() -> PreTrainedTokenizerFast:
    """Lower-cased words of the captions; any other word is UNKNOWN, punctuation is dropped."""
    ids = {word: i for i, word in enumerate((*SPECIAL, *vocabulary()))}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(r, "removed") for r in (" ", *",.;:!?\"'()-")]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(BEGIN, ids[BEGIN]), (END, ids[END])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BEGIN,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=CONTEXT,
    )


def tokenize(texts: list[str]) -> Tensor:
    """Token ids (B, CONTEXT) int64, padded."""
    encoded = build_tokenizer()(texts, padding="max_length", truncation=True, max_length=CONTEXT)
    return torch.tensor(encoded["input_ids"])


class CaptionData:
    """All wordings of every scene, tokenised once; looked up by scene index."""

    def __init__(self, scenes: list[Scene]) -> None:
        wordings = [captions(scene) for scene in scenes]
        self.first = torch.tensor([0, *(len(w) for w in wordings)]).cumsum(0)
        self.tokens = tokenize([caption.text for w in wordings for caption in w]).to(torch.int16)
        self.stated = torch.cat([stated(s, w) for s, w in zip(scenes, wordings, strict=True)])

    def choose(self, indices: Tensor, random: torch.Generator) -> Tensor:
        """One random wording a scene, (B,), to look up in ``tokens`` and ``stated``; half are full ones."""
        start, count = self.first[indices], self.first[indices + 1] - self.first[indices]
        chosen = (torch.rand(len(indices), generator=random) * count).long()
        full = torch.rand(len(indices), generator=random) < 0.5
        return start + chosen.masked_fill(full, 0)

    def batch(self, indices: Tensor, random: torch.Generator) -> Tensor:
        """Tokens of one random wording a scene, (B, CONTEXT) int64."""
        return self.tokens[self.choose(indices, random)].long()
