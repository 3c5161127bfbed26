"""How the prior is trained: to see the scenes' latents behind noise, told by their captions."""

import copy
from pathlib import Path

import torch
from torch import Tensor

from networks.latent_flow import LatentFlow, LatentFlowConfig, sample_rounds, save_prior
from networks.vqgan import VQGAN
from sandbox.data import SIZE, SceneData, held_out
from sandbox.loop import Learner
from sandbox.recipes.vqgan import scene_codes
from sandbox.scenes import captions
from sandbox.sheet import write_sheet
from sandbox.tokenizer import CONTEXT, SPECIAL, UNKNOWN, CaptionData, build_tokenizer, tokenize

SEED = 3
BATCH = 32
LEARNING_RATE = 1e-3
WARM_UP = 100
SHAPES = 6  # of a batch are plain shapes, beside those that chance brings
FORGOTTEN = 0.2  # of the words of every other text
SILENT_SHARE = 0.1  # of the texts are kept back, for classifier-free guidance
CODES_FITTED = 200  # scenes whose codes show the directions
LONGEST = 24  # tokens of any caption
DIRECTIONS = 4  # hold 99.9 % of the variance of the sandbox VQGAN's codebook
NOISIER = 0.7  # mean of the logit of the times: most of a scene is decided early
LEAST_TIME = 0.2  # whose error still weighs more: what is left then, quantisation corrects


class PriorRecipe:
    def __init__(self, data: SceneData, vqgan: VQGAN, codes_file: Path) -> None:
        torch.manual_seed(SEED)
        self.vqgan, self.captions = vqgan, CaptionData(data.scenes)
        self.codes = scene_codes(data, vqgan, codes_file)
        self.shapes = torch.tensor([i for i, s in enumerate(data.scenes) if s.family == "shapes"])
        self.random = torch.Generator().manual_seed(SEED)
        self.network = LatentFlow(
            LatentFlowConfig(
                embed_dim=vqgan.config.embed_dim,
                directions=DIRECTIONS,
                grid=SIZE // vqgan.downsampling,
                vocabulary=len(build_tokenizer()),
                context=CONTEXT,
            )
        )
        self.network.fit(vqgan.codebook[self.codes[:CODES_FITTED].flatten().long()])
        self.imagine = torch.compile(self.network)
        self.learner = Learner(
            self.network, self.random, LEARNING_RATE, WARM_UP, weight_decay=0.02, averaging=0.998
        )

    def step(self, step: int, progress: float) -> dict[str, float]:
        indices = self._indices()
        clean = self.network.project(self.vqgan.embed(self.codes[indices].long()))
        text = self._casual(self.captions.batch(indices, self.random)[:, :LONGEST])
        heard = (text != 0) & (torch.rand(BATCH, 1, generator=self.random) >= SILENT_SHARE)
        time = torch.sigmoid(torch.randn(BATCH, generator=self.random) + NOISIER)
        blend = time.view(-1, 1, 1, 1)
        noisy = clean.lerp(torch.randn(clean.shape, generator=self.random), blend)
        with torch.autocast("cpu", torch.bfloat16):
            imagined = self.imagine(noisy, time, text, heard).float()
        square = (imagined - clean).square()
        loss = (square / blend.clamp(min=LEAST_TIME) ** 2).mean()
        self.learner.update(loss, step, progress)
        return {"loss": loss.item(), "square": square.mean().item()}

    def _indices(self) -> Tensor:
        """Scenes of all families; plain shapes more often, since their outlines forgive nothing."""
        anything = torch.randint(len(self.codes), (BATCH - SHAPES,), generator=self.random)
        shapes = torch.randint(len(self.shapes), (SHAPES,), generator=self.random)
        return torch.cat([anything, self.shapes[shapes]])

    def _casual(self, text: Tensor) -> Tensor:
        """Texts (B, T) as people write them: in half of them words are missing or unknown."""
        share = FORGOTTEN * torch.randint(2, (len(text), 1), generator=self.random)
        lost = (torch.rand(text.shape, generator=self.random) < share) & (text >= len(SPECIAL))
        strange = torch.rand(text.shape, generator=self.random) < 0.5
        text = text.masked_fill(lost, 0).masked_fill(lost & strange, SPECIAL.index(UNKNOWN))
        return text.gather(1, (text == 0).int().argsort(dim=1, stable=True))

    def shipped(self) -> LatentFlow:
        return copy.deepcopy(self.learner.average.module).eval()

    def sample(self, path: Path) -> None:
        prior = self.shipped()
        text = tokenize([captions(scene)[0].text for scene in held_out(16)]).repeat_interleave(3, 0)
        random = torch.Generator().manual_seed(0)
        *_, latents = sample_rounds(prior, text, text != 0, random, dtype=torch.bfloat16)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            drawn = self.vqgan.decode(self.vqgan.quantize(latents)[0])
        write_sheet(path, drawn.float() / 2 + 0.5, columns=12)

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_prior(self.shipped(), folder / "prior.safetensors")
