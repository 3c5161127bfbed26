"""How the sandbox BigGAN is trained: an encoder tells the noise of every scene, a critic sharpens.

Adversarial training alone needs days and forgets rare scenes; with an encoder (VAE/GAN: Larsen et al. 2016)
every scene has its noise, so that guidance can find it, and the first minutes already draw. The critic is
BigGAN's: hinge loss, projection of the class (Miyato and Koyama 2018), spectral normalisation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from networks.biggan import BatchNorm, BigGAN, BigGANConfig
from sandbox.data import SceneData, held_out, rendered
from sandbox.forms import classes, forms
from sandbox.loop import Learner
from sandbox.recipes.vqgan import psnr
from sandbox.sheet import write_sheet

SIZE = 64
CONFIG = BigGANConfig(
    output_dim=SIZE,
    z_dim=64,
    class_embed_dim=128,
    channel_width=24,
    num_classes=len(forms()),
    layers=(
        (True, 16, 16),
        (False, 16, 16),
        (True, 16, 8),
        (False, 8, 8),
        (True, 8, 4),
        (False, 4, 4),
        (True, 4, 2),
        (False, 2, 1),
    ),
    attention_layer_position=4,
    n_stats=11,
)
SEED = 6
BATCH = 32
IMAGINED = 16  # pictures a step from noise that no scene has, for the critic
LEARNING_RATE = 1.5e-3
CRITIC_RATE = 4e-4
WARM_UP = 100
RATE_WEIGHT = 7e-4  # of a nat in the noise, against the error of the drawing
WHITEN_FROM = 0.2  # of the budget
WHITENED_BY = 16_384  # scenes
CRITIC_FROM = 0.5  # of the budget
CRITIC_WEIGHT = 0.01
STANDING_BATCHES = 8
USE_SEEN_BY = 512  # scenes
LEAST_USE = 0.3  # deviation of what the encoder says of scenes: the rest of the noise draws nothing
SHIPPED_CLASS_DIM = 64


@dataclass(frozen=True)
class Rivals:
    """The drawing side and its critic, each with its own optimiser."""

    drawing: Learner
    critic: Learner

    def state(self) -> dict[str, Any]:
        return {"drawing": self.drawing.state(), "critic": self.critic.state()}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.drawing.restore(state["drawing"])
        self.critic.restore(state["critic"])


class BigGANRecipe:
    def __init__(self, data: SceneData) -> None:
        torch.manual_seed(SEED)
        self.data, self.classes = data, classes(data.scenes)
        self.random = torch.Generator().manual_seed(SEED)
        self.network = nn.ModuleDict({"encoder": Encoder(CONFIG), "generator": BigGAN(CONFIG)})
        _initialise(self.network["generator"])
        self.network.to(memory_format=torch.channels_last)
        self.draw = torch.compile(self.network["generator"])
        self.critic = Critic(CONFIG.num_classes).to(memory_format=torch.channels_last)
        self.whitened = torch.zeros(1)
        self.learner = Rivals(
            Learner(
                self.network,
                self.random,
                LEARNING_RATE,
                WARM_UP,
                weight_decay=1e-4,
                averaging=0.998,
                extra={"whitened": self.whitened},
            ),
            Learner(self.critic, self.random, CRITIC_RATE, WARM_UP, weight_decay=0, betas=(0.0, 0.99)),
        )

    def step(self, step: int, progress: float) -> dict[str, float]:
        if progress >= WHITEN_FROM and not self.whitened:
            self._whiten()
        indices = self._indices(BATCH)
        images = _shrink(self.data.batch(indices)).mul(2).sub(1)
        kinds = self.classes[indices]
        with torch.autocast("cpu", torch.bfloat16):
            mean, spread = self.network["encoder"](images, kinds).float().chunk(2, 1)
        noise = mean + spread.exp() * torch.randn(mean.shape, generator=self.random)
        if progress >= CRITIC_FROM:
            kinds = torch.cat([kinds, self.classes[self._indices(IMAGINED)]])
            noise = torch.cat([noise, torch.randn(IMAGINED, CONFIG.z_dim, generator=self.random)])
        with torch.autocast("cpu", torch.bfloat16):
            drawn = self.draw(noise, one_hot(kinds), 1.0).float()
        rate = (mean.square() + (2 * spread).exp() - 2 * spread - 1).div(2).sum(1).mean()
        square, absolute = F.mse_loss(drawn[:BATCH], images), F.l1_loss(drawn[:BATCH], images)
        loss = 4 * square + absolute + RATE_WEIGHT * rate
        numbers = {"psnr": psnr(square.item()), "l1": absolute.item(), "nats": rate.item()}
        if progress >= CRITIC_FROM:
            numbers["critic"] = self._teach_critic(images, drawn.detach(), kinds, step, progress)
            loss = loss - CRITIC_WEIGHT * self._criticise(drawn, kinds).mean()
        self.learner.drawing.update(loss, step, progress)
        return numbers

    @torch.no_grad()
    def _whiten(self) -> None:
        """Make the scenes' noise what random noise is: of no class, uncorrelated, with variance 1.

        No picture changes. The encoder spreads what it says over all numbers and says the class again, and
        the little weight on its rate would take long to turn that straight.
        """
        indices = torch.randperm(len(self.data), generator=self.random)[:WHITENED_BY]
        with torch.autocast("cpu", torch.bfloat16):
            said = [
                self.network["encoder"](
                    _shrink(self.data.batch(some)).mul(2).sub(1), self.classes[some]
                ).float()
                for some in indices.split(BATCH)
            ]
        for part in (self.network, self.learner.drawing.average.module):
            whiten(part["encoder"], part["generator"], torch.cat(said), self.classes[indices])
        self.learner.drawing.optimiser.state.clear()
        self.whitened.fill_(1)

    def _teach_critic(self, real: Tensor, drawn: Tensor, kinds: Tensor, step: int, progress: float) -> float:
        """One step of the critic; returns its hinge loss."""
        praise, blame = self._criticise(real, kinds[:BATCH]), self._criticise(drawn, kinds)
        loss = F.relu(1 - praise).mean() + F.relu(1 + blame).mean()
        self.learner.critic.update(loss, step, progress)
        return loss.item()

    def _criticise(self, images: Tensor, kinds: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.critic(images, kinds).float()

    def _indices(self, count: int) -> Tensor:
        return torch.randint(len(self.data), (count,), generator=self.random)

    def shipped(self) -> BigGAN:
        """The averaged generator without what it does not use, with its standing statistics."""
        average = self.learner.drawing.average.module
        generator = slim(average["generator"], self._useful(average["encoder"]), SHIPPED_CLASS_DIM)
        measure_statistics(generator, self.classes, torch.Generator().manual_seed(SEED))
        return generator.eval()

    @torch.no_grad()
    def _useful(self, encoder: "Encoder") -> Tensor:
        """Which numbers of the noise say something of a scene, (z_dim,)."""
        random = torch.Generator().manual_seed(SEED)
        indices = torch.randint(len(self.data), (USE_SEEN_BY,), generator=random)
        images, kinds = _shrink(self.data.batch(indices)).mul(2).sub(1), self.classes[indices]
        with torch.autocast("cpu", torch.bfloat16):
            mean, _ = encoder(images, kinds).float().chunk(2, 1)
        use = mean.std(0)
        return use >= use.max().clamp(max=LEAST_USE)

    def sample(self, path: Path) -> None:
        """Pairs of a scene and its reconstruction, then pictures from random noise."""
        generator = self.shipped()
        real, kinds = next(rendered(held_out(36), SIZE)), classes(held_out(36))
        random = torch.Generator().manual_seed(0)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            encoder = self.learner.drawing.average.module["encoder"].eval()
            mean = encoder(real * 2 - 1, kinds).float()
            told = mean[:, : CONFIG.z_dim][:, self._useful(encoder)]
            again = generator(told, one_hot(kinds), 1.0).float()
            noise = torch.randn(told.shape, generator=random)
            imagined = generator(noise, one_hot(kinds), 1.0).float()
        pairs = torch.stack([real, again / 2 + 0.5], 1).flatten(0, 1)
        write_sheet(path, torch.cat([pairs, imagined / 2 + 0.5]).clamp(0, 1), columns=12)

    def export(self, folder: Path) -> None:
        folder = folder / "biggan"
        folder.mkdir(parents=True, exist_ok=True)
        generator = self.shipped()
        generator.config.to_json(folder / "config.json")
        state = {name: value.half().contiguous() for name, value in generator.state_dict().items()}
        save_file(state, folder / "biggan.safetensors")


class Encoder(nn.Module):
    """Images (B, 3, SIZE, SIZE) in [-1, 1] and classes (B,) to their noise, (B, 2 z_dim).

    First the mean, then the logarithm of the deviation. ``usual`` is what the class alone says of the mean.
    """

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(3, 32, 5, stride=2, padding=2)]
        for width, wider in pairwise((32, 64, 128, 256)):
            stages += [nn.GroupNorm(8, width), nn.SiLU(), nn.Conv2d(width, wider, 3, stride=2, padding=1)]
            stages += [nn.GroupNorm(8, wider), nn.SiLU(), nn.Conv2d(wider, wider, 3, padding=1)]
        self.stages = nn.Sequential(*stages, nn.GroupNorm(8, 256), nn.SiLU(), nn.Flatten())
        self.read = nn.Linear(256 * (SIZE // 16) ** 2, 2 * config.z_dim)
        self.usual = nn.Embedding(config.num_classes, config.z_dim)
        nn.init.zeros_(self.usual.weight)

    def forward(self, images: Tensor, kinds: Tensor) -> Tensor:
        mean, spread = self.read(self.stages(images)).chunk(2, 1)
        return torch.cat([mean + self.usual(kinds), spread], 1)


class Critic(nn.Module):
    """Images (B, 3, SIZE, SIZE) in [-1, 1] and classes (B,) to (B, places): how real each place looks."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise((3, 64, 128, 256)):
            stages += [spectral_norm(nn.Conv2d(inputs, outputs, 4, stride=2, padding=1)), nn.LeakyReLU(0.2)]
        self.stages = nn.Sequential(*stages)
        self.real = spectral_norm(nn.Conv2d(256, 1, 3, padding=1))
        self.of_class = spectral_norm(nn.Embedding(num_classes, 256))

    def forward(self, images: Tensor, kinds: Tensor) -> Tensor:
        seen = self.stages(images)
        fitting = (seen.mean((2, 3)) * self.of_class(kinds)).sum(1, keepdim=True)
        return self.real(seen).flatten(1) + fitting


def _shrink(images: Tensor) -> Tensor:
    """Scenes to SIZE pixels, channels last."""
    return F.interpolate(images, (SIZE, SIZE), mode="area").contiguous(memory_format=torch.channels_last)


def one_hot(kinds: Tensor) -> Tensor:
    """Classes (B,) to (B, num_classes)."""
    return F.one_hot(kinds, CONFIG.num_classes).float()


def _initialise(generator: BigGAN) -> None:
    """Orthogonal, as the original's (section 3); conditions start with little say in gain and bias.

    The last part of the class embedding stays 0, and so do the weights that read it, until ``whiten``.
    """
    for name, parameter in generator.named_parameters():
        if name.endswith(("scale.weight", "offset.weight")):
            nn.init.normal_(parameter, std=0.02)
        elif parameter.dim() > 1:
            nn.init.orthogonal_(parameter)
    nn.init.normal_(generator.embeddings.weight)
    kept_free = generator.config.z_dim
    generator.embeddings.weight.data[-kept_free:] = 0
    for layer in conditioned(generator):
        layer.weight.data[:, -kept_free:] = 0


@torch.no_grad()
def whiten(encoder: Encoder, generator: BigGAN, said: Tensor, kinds: Tensor) -> None:
    """Fold into both the change of noise that makes it white within each class.

    ``said`` (N, 2 z_dim) is what the encoder says of scenes of the classes ``kinds`` (N,). What a class's
    noise has in common moves into the part of the class embedding that was kept free for it.
    """
    z_dim, count = generator.config.z_dim, generator.config.num_classes
    mean, spread = said.chunk(2, 1)
    sizes = torch.bincount(kinds, minlength=count).clamp(min=1)
    common = torch.zeros(count, z_dim).index_add_(0, kinds, mean) / sizes[:, None]
    variances = (2 * spread).exp().mean(0)
    lengths, directions = torch.linalg.eigh(torch.cov((mean - common[kinds]).T) + variances.diag())
    colour, back = directions * lengths.sqrt(), (directions / lengths.sqrt()).T
    head = encoder.read
    encoder.usual.weight.copy_((encoder.usual.weight - common) @ back.T)
    head.weight[:z_dim] = back @ head.weight[:z_dim]
    head.bias[:z_dim] = back @ head.bias[:z_dim]
    head.weight[z_dim:] = 0
    head.bias[z_dim:] = (back.square() @ variances).log() / 2
    generator.embeddings.weight[-z_dim:] = common.T
    for layer in conditioned(generator):
        layer.weight[:, -z_dim:] = layer.weight[:, :z_dim]
        layer.weight[:, :z_dim] = layer.weight[:, :z_dim] @ colour


@torch.no_grad()
def slim(generator: BigGAN, useful: Tensor, class_dim: int) -> BigGAN:
    """The same generator with the ``useful`` (z_dim,) part of its noise and a shorter class embedding.

    All that reads the embedding is one product with it; its ``class_dim`` largest singular values are kept.
    """
    config = generator.config
    smaller = BigGAN(replace(config, z_dim=int(useful.sum()), class_embed_dim=class_dim))
    heard = torch.cat([layer.weight[:, config.z_dim :] for layer in conditioned(generator)])
    reads, strengths, embeddings = torch.linalg.svd(heard @ generator.embeddings.weight, full_matrices=False)
    scale = config.num_classes**0.5
    layers = {name: layer for name, layer in generator.named_modules() if layer in conditioned(generator)}
    shorter = (reads * strengths / scale)[:, :class_dim].split([x.out_features for x in layers.values()])
    state = generator.state_dict()
    for (name, layer), read in zip(layers.items(), shorter, strict=True):
        state[f"{name}.weight"] = torch.cat([layer.weight[:, : config.z_dim][:, useful], read], 1)
    state["embeddings.weight"] = embeddings[:class_dim] * scale
    smaller.load_state_dict(state)
    return smaller


def conditioned(generator: BigGAN) -> list[nn.Linear]:
    """The layers that read noise and class embedding."""
    return [m for m in generator.modules() if isinstance(m, nn.Linear) and m is not generator.embeddings]


@torch.no_grad()
def measure_statistics(generator: BigGAN, kinds: Tensor, random: torch.Generator) -> None:
    """Set the standing statistics of every batch norm, for each stored truncation (appendix C.1)."""
    norms = [module for module in generator.modules() if isinstance(module, BatchNorm)]
    sums = {norm: (norm.running_means * 0, norm.running_means * 0) for norm in norms}
    row = 0

    def note(norm: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        first, second = sums[norm]
        x = inputs[0].float()
        first[row] += x.mean((0, 2, 3)) / STANDING_BATCHES
        second[row] += x.square().mean((0, 2, 3)) / STANDING_BATCHES

    hooks = [norm.register_forward_hook(note) for norm in norms]
    generator.train()
    for row in range(CONFIG.n_stats):
        truncation = row / (CONFIG.n_stats - 1)
        for _ in range(STANDING_BATCHES):
            chosen = kinds[torch.randint(len(kinds), (BATCH,), generator=random)]
            noise = truncation * torch.randn(BATCH, generator.config.z_dim, generator=random)
            with torch.autocast("cpu", torch.bfloat16):
                generator(noise, one_hot(chosen), 1.0)
    for hook in hooks:
        hook.remove()
    for norm, (first, second) in sums.items():
        norm.running_means.copy_(first)
        norm.running_vars.copy_(second - first.square())
