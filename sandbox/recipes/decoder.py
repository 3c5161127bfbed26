"""More training for the sandbox VQGAN's decoder alone, on codes that no longer change.

The prior learns the codes; so once it trains, encoder and codebook are settled. What is left of the budget
goes into drawing those codes better, at half the price of a step through the whole network.
"""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F

from networks.vqgan import VQGAN
from sandbox.data import SceneData, held_out, rendered
from sandbox.loop import Learner
from sandbox.recipes.vqgan import export_vqgan, psnr, reconstruct, scene_codes
from sandbox.sheet import write_sheet

SEED = 5
BATCH = 8
LEARNING_RATE = 3e-4
WARM_UP = 100


class DecoderRecipe:
    def __init__(self, data: SceneData, vqgan: VQGAN, codes_file: Path) -> None:
        torch.manual_seed(SEED)
        self.data, self.codes = data, scene_codes(data, vqgan, codes_file)
        self.random = torch.Generator().manual_seed(SEED)
        self.network = vqgan.to(memory_format=torch.channels_last)
        for part in (vqgan.decoder, vqgan.post_quant_conv):
            part.requires_grad_(True)
        self.learner = Learner(
            self.network, self.random, LEARNING_RATE, WARM_UP, weight_decay=1e-4, averaging=0.995
        )

    def step(self, step: int, progress: float) -> dict[str, float]:
        indices = torch.randint(len(self.data), (BATCH,), generator=self.random)
        images = self.data.batch(indices).mul(2).sub(1)
        codes = self.network.embed(self.codes[indices].long())
        with torch.autocast("cpu", torch.bfloat16):
            drawn = self.network.decode(codes).float()
        square, absolute = F.mse_loss(drawn, images), F.l1_loss(drawn, images)
        self.learner.update(4 * square + absolute, step, progress)
        return {"psnr": psnr(square.item()), "l1": absolute.item()}

    def shipped(self) -> VQGAN:
        return copy.deepcopy(self.learner.average.module).eval()

    def sample(self, path: Path) -> None:
        real = next(rendered(held_out(24)))
        drawn, _ = reconstruct(self.shipped(), real)
        write_sheet(path, torch.stack([real, drawn], 1).flatten(0, 1), columns=12)

    def export(self, folder: Path) -> None:
        export_vqgan(self.shipped(), folder)
