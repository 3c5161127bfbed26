"""How the token prior is trained: codes of the training scenes, masked at random, told by their captions."""

import copy
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from networks.token_prior import TokenPrior, TokenPriorConfig, sample_rounds, save_prior
from networks.vqgan import VQGAN
from sandbox.data import SIZE, SceneData, held_out
from sandbox.loop import Learner
from sandbox.recipes.vqgan import scene_codes
from sandbox.scenes import captions
from sandbox.sheet import write_sheet
from sandbox.tokenizer import CONTEXT, CaptionData, build_tokenizer, tokenize

SEED = 3
BATCH = 64
LEARNING_RATE = 1e-3
WARM_UP = 100
SILENT_SHARE = 0.1  # of the texts are kept back, for classifier-free guidance
CODEBOOK_SCALE = 0.3
LONGEST = 24  # tokens of any caption


class PriorRecipe:
    def __init__(self, data: SceneData, vqgan: VQGAN, codes_file: Path) -> None:
        torch.manual_seed(SEED)
        self.vqgan, self.captions = vqgan, CaptionData(data.scenes)
        self.codes = scene_codes(data, vqgan, codes_file)
        self.random = torch.Generator().manual_seed(SEED)
        self.network = TokenPrior(
            TokenPriorConfig(
                n_embed=vqgan.config.n_embed,
                grid=SIZE // vqgan.downsampling,
                vocabulary=len(build_tokenizer()),
                context=CONTEXT,
            )
        )
        _start_from_codebook(self.network, vqgan)
        self.summarise = torch.compile(self.network.summarise)
        self.learner = Learner(
            self.network, self.random, LEARNING_RATE, WARM_UP, weight_decay=0.02, averaging=0.99
        )

    def step(self, step: int, progress: float) -> dict[str, float]:
        indices = torch.randint(len(self.codes), (BATCH,), generator=self.random)
        codes, text = self.codes[indices].long(), self.captions.batch(indices, self.random)
        masked = self._mask(codes)
        text = text[:, :LONGEST]
        heard = (text != 0) & (torch.rand(BATCH, 1, generator=self.random) >= SILENT_SHARE)
        with torch.autocast("cpu", torch.bfloat16):
            seen = codes.masked_fill(masked, self.network.mask)
            logits = self.network.logits(self.summarise(seen, text, heard)[masked])
        loss = F.cross_entropy(logits.float(), codes[masked])
        self.learner.update(loss, step, progress)
        return {"loss": loss.item()}

    def _mask(self, codes: Tensor) -> Tensor:
        """A share of each grid by the cosine schedule, (B, grid, grid) bool."""
        share = torch.cos(torch.rand(len(codes), 1, 1, generator=self.random) * math.pi / 2)
        return torch.rand(codes.shape, generator=self.random) < share.clamp(min=0.02)

    def shipped(self) -> TokenPrior:
        return copy.deepcopy(self.learner.average.module).eval()

    def sample(self, path: Path) -> None:
        prior = self.shipped()
        text = tokenize([captions(scene)[0].text for scene in held_out(16)]).repeat_interleave(3, 0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            *_, codes = sample_rounds(prior, text, text != 0, torch.Generator().manual_seed(0))
            drawn = self.vqgan.decode(self.vqgan.embed(codes))
        write_sheet(path, drawn.float() / 2 + 0.5, columns=12)

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_prior(self.shipped(), folder / "prior.safetensors")


@torch.no_grad()
def _start_from_codebook(prior: TokenPrior, vqgan: VQGAN) -> None:
    """Codes that look alike begin alike: the prior need not learn a thousand strangers."""
    book = vqgan.codebook - vqgan.codebook.mean(0)
    prior.codes.weight[:-1, : book.shape[1]] = CODEBOOK_SCALE * book / book.std()
