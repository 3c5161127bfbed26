"""The generator of BigGAN-deep (Brock, Donahue, Simonyan: "Large Scale GAN Training", 2019, appendix B).

Module names equal those of HuggingFace's pytorch-pretrained-BigGAN, the port of DeepMind's TF Hub modules;
its checkpoints load unchanged once ``fold_spectral_norm`` has made plain weights of them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

IMAGE_CHANNELS = 3
START_SIDE = 4
START_WIDTH = 16
"""Of the first features, in multiples of ``channel_width``."""


@dataclass(frozen=True)
class BigGANConfig:
    """Sizes of a BigGAN-deep, named as in the original's configuration files; by default for 256 pixels.

    ``layers`` are the residual blocks: whether the block doubles the sides, then its input and output width
    in multiples of ``channel_width``. Self-attention stands before block ``attention_layer_position``;
    ``n_stats`` statistics of each batch norm are stored, for truncations evenly spaced from 0 to 1.
    """

    output_dim: int = 256
    z_dim: int = 128
    class_embed_dim: int = 128
    channel_width: int = 128
    num_classes: int = 1000
    layers: tuple[tuple[bool, int, int], ...] = (
        (False, 16, 16),
        (True, 16, 16),
        (False, 16, 16),
        (True, 16, 8),
        (False, 8, 8),
        (True, 8, 8),
        (False, 8, 8),
        (True, 8, 4),
        (False, 4, 4),
        (True, 4, 2),
        (False, 2, 2),
        (True, 2, 1),
    )
    attention_layer_position: int = 8
    eps: float = 1e-4
    n_stats: int = 51

    def __post_init__(self) -> None:
        widths = [START_WIDTH, *(outputs for _, _, outputs in self.layers)]
        inputs = [inputs for _, inputs, _ in self.layers]
        doublings = sum(upsample for upsample, _, _ in self.layers)
        if widths != [*inputs, 1] or widths != sorted(widths, reverse=True):
            raise ValueError("The blocks do not narrow from 16 to 1, each going on from the one before.")
        if self.output_dim != START_SIDE * 2**doublings:
            raise ValueError(f"The blocks make pictures of another size than {self.output_dim} pixels.")
        if min(self.z_dim, self.class_embed_dim, self.num_classes, self.channel_width // 8) < 1:
            raise ValueError("Sizes are at least 1, the channels' 8: attention takes an eighth of them.")
        if self.n_stats < 2 or not self.eps > 0:
            raise ValueError("Batch norm needs two stored statistics and a positive eps.")

    @classmethod
    def from_json(cls, path: Path) -> "BigGANConfig":
        """Read the original's layout.

        Raises:
            ValueError: the file does not describe a BigGAN-deep.
        """
        try:
            sizes = json.loads(path.read_text())
            layers = ((bool(up), int(inputs), int(outputs)) for up, inputs, outputs in sizes["layers"])
            return cls(
                output_dim=int(sizes["output_dim"]),
                z_dim=int(sizes["z_dim"]),
                class_embed_dim=int(sizes["class_embed_dim"]),
                channel_width=int(sizes["channel_width"]),
                num_classes=int(sizes["num_classes"]),
                layers=tuple(layers),
                attention_layer_position=int(sizes["attention_layer_position"]),
                eps=float(sizes["eps"]),
                n_stats=int(sizes["n_stats"]),
            )
        except Exception as error:
            raise ValueError(f"{path} does not describe a BigGAN-deep.") from error

    def to_json(self, path: Path) -> None:
        """Write the original's layout, which ``from_json`` reads."""
        path.write_text(json.dumps(asdict(self), indent=2, sort_keys=True) + "\n")


class BigGAN(nn.Module):
    """Noise and classes to images; each layer may be told its own."""

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = nn.Linear(config.num_classes, config.class_embed_dim, bias=False)
        self.generator = Generator(config)

    def forward(self, z: Tensor, classes: Tensor, truncation: float) -> Tensor:
        """Draw images (B, 3, output_dim, output_dim) in [-1, 1].

        One vector may condition all layers, or one each of the L ``conditioning_layers``, for ``z`` and
        ``classes`` independently (as in Big Sleep, Murdock 2021).

        Args:
            z: (B, z_dim) or (B, L, z_dim): a normal distribution truncated to [-2, 2], times ``truncation``.
            classes: (B, num_classes) or (B, L, num_classes): one-hot, or any mixture.
            truncation: in (0, 1]; chooses the statistics of the batch norms.
        """
        if not 0 < truncation <= 1:
            raise ValueError(f"The truncation is above 0 and at most 1, not {truncation}.")
        conditions = torch.cat([self._for_layers(z), self._for_layers(self.embeddings(classes))], -1)
        return self.generator(conditions, truncation)

    @property
    def conditioning_layers(self) -> int:
        """How many take a vector: the first features, then every block."""
        return 1 + len(self.config.layers)

    def _for_layers(self, vectors: Tensor) -> Tensor:
        """Vectors (B, D) or (B, L, D) to (B, L, D)."""
        each = vectors if vectors.dim() == 3 else vectors[:, None]
        return each.expand(-1, self.conditioning_layers, -1)


class Generator(nn.Module):
    """Attention, where there is any, is one of ``layers`` as in the original; no condition reaches it."""

    def __init__(self, config: BigGANConfig) -> None:
        super().__init__()
        width, condition = config.channel_width, config.z_dim + config.class_embed_dim
        self.gen_z = nn.Linear(condition, START_SIDE**2 * START_WIDTH * width)
        self.layers = nn.ModuleList()
        for position, (upsample, inputs, outputs) in enumerate(config.layers):
            if position == config.attention_layer_position:
                self.layers.append(SelfAttention(inputs * width))
            self.layers.append(GenBlock(inputs * width, outputs * width, upsample, config))
        self.bn = PlainBatchNorm(width, config)
        self.conv_to_rgb = nn.Conv2d(width, width, 3, padding=1)
        """As wide as in the original, though only the image's channels are ever computed."""

    def forward(self, conditions: Tensor, truncation: float) -> Tensor:
        """Conditions (B, conditioning layers, z_dim + class_embed_dim) to images."""
        start, *others = conditions.unbind(1)
        x = self.gen_z(start).unflatten(1, (START_SIDE, START_SIDE, -1)).permute(0, 3, 1, 2)
        left = iter(others)
        for layer in self.layers:
            x = layer(x, next(left), truncation) if isinstance(layer, GenBlock) else layer(x)
        x = F.relu(self.bn(x, truncation))
        to_rgb = self.conv_to_rgb
        return F.conv2d(x, to_rgb.weight[:IMAGE_CHANNELS], to_rgb.bias[:IMAGE_CHANNELS], padding=1).tanh()


class GenBlock(nn.Module):
    """A bottleneck; where it narrows, the shortcut keeps the first channels and drops the rest."""

    def __init__(self, inputs: int, outputs: int, upsample: bool, config: BigGANConfig) -> None:
        super().__init__()
        middle = inputs // 4
        self.outputs = outputs
        self.upsample = nn.Upsample(scale_factor=2.0) if upsample else nn.Identity()
        self.bn_0 = ConditionalBatchNorm(inputs, config)
        self.conv_0 = nn.Conv2d(inputs, middle, 1)
        self.bn_1 = ConditionalBatchNorm(middle, config)
        self.conv_1 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn_2 = ConditionalBatchNorm(middle, config)
        self.conv_2 = nn.Conv2d(middle, middle, 3, padding=1)
        self.bn_3 = ConditionalBatchNorm(middle, config)
        self.conv_3 = nn.Conv2d(middle, outputs, 1)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        h = self.conv_0(F.relu(self.bn_0(x, condition, truncation)))
        h = self.conv_1(self.upsample(F.relu(self.bn_1(h, condition, truncation))))
        h = self.conv_2(F.relu(self.bn_2(h, condition, truncation)))
        h = self.conv_3(F.relu(self.bn_3(h, condition, truncation)))
        return h + self.upsample(x[:, : self.outputs])


class SelfAttention(nn.Module):
    """Attention of all places to the largest of each four (Zhang et al., "Self-Attention GAN", 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.snconv1x1_theta = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_phi = nn.Conv2d(channels, channels // 8, 1, bias=False)
        self.snconv1x1_g = nn.Conv2d(channels, channels // 2, 1, bias=False)
        self.snconv1x1_o_conv = nn.Conv2d(channels // 2, channels, 1, bias=False)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        queries = self.snconv1x1_theta(x).flatten(2).transpose(1, 2)
        keys = F.max_pool2d(self.snconv1x1_phi(x), 2).flatten(2)
        values = F.max_pool2d(self.snconv1x1_g(x), 2).flatten(2).transpose(1, 2)
        weights = (queries @ keys).softmax(-1)  # (B, places, places / 4)
        attended = (weights @ values).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.gamma * self.snconv1x1_o_conv(attended)


class BatchNorm(nn.Module):
    """Batch normalisation by statistics stored for truncations evenly spaced from 0 to 1.

    In training mode the batch's own serve instead, and what is stored stays as it is: it is measured once the
    network is trained ("standing statistics", appendix C.1).
    """

    def __init__(self, channels: int, config: BigGANConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.register_buffer("running_means", torch.zeros(config.n_stats, channels))
        self.register_buffer("running_vars", torch.ones(config.n_stats, channels))

    def normalise(self, x: Tensor, gain: Tensor, bias: Tensor, truncation: float) -> Tensor:
        """Normalise x (B, C, H, W), then scale and shift it by gain and bias, each (C,) or (B, C)."""
        if self.training:
            x = F.batch_norm(x, None, None, training=True, eps=self.eps)
            return torch.addcmul(bias.to(x.dtype)[..., None, None], x, gain.to(x.dtype)[..., None, None])
        mean, var = (self._stored(table, truncation) for table in (self.running_means, self.running_vars))
        scale = gain.float() * (var + self.eps).rsqrt()
        shift = bias.float() - mean * scale
        scale, shift = (factor.to(x.dtype)[..., None, None] for factor in (scale, shift))
        return torch.addcmul(shift, x, scale)

    def _stored(self, table: Tensor, truncation: float) -> Tensor:
        """Mix the stored rows beside the truncation.

        The original gives the nearer row the smaller share. So do we, to draw what it draws.
        """
        # divided by the step, not multiplied by its inverse: rounding decides on which row 0.14 falls
        share, below = math.modf(truncation / (1 / (len(table) - 1)))
        row, above = int(below), min(int(below) + 1, len(table) - 1)
        if share == 0:
            return table[row].float()
        return table[row].float() * share + table[above].float() * (1 - share)


class ConditionalBatchNorm(BatchNorm):
    """Gain and bias follow from the condition, (B, z_dim + class_embed_dim)."""

    def __init__(self, channels: int, config: BigGANConfig) -> None:
        super().__init__(channels, config)
        condition = config.z_dim + config.class_embed_dim
        self.scale = nn.Linear(condition, channels, bias=False)
        self.offset = nn.Linear(condition, channels, bias=False)

    def forward(self, x: Tensor, condition: Tensor, truncation: float) -> Tensor:
        return self.normalise(x, 1 + self.scale(condition), self.offset(condition), truncation)


class PlainBatchNorm(BatchNorm):
    """Gain and bias are learned."""

    def __init__(self, channels: int, config: BigGANConfig) -> None:
        super().__init__(channels, config)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, truncation: float) -> Tensor:
        return self.normalise(x, self.weight, self.bias, truncation)


def fold_spectral_norm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make plain weights of those under spectral normalisation (Miyato et al. 2018), for inference.

    Each ``weight_orig`` is divided by its largest singular value, which the stored ``weight_u`` and
    ``weight_v`` give. Other tensors stay as they are.

    Raises:
        LookupError: a vector is missing, or a weight has no rows.
        RuntimeError: a vector does not fit its weight.
    """
    folded = {k: v for k, v in state.items() if not k.endswith((".weight_orig", ".weight_u", ".weight_v"))}
    for name in (k.removesuffix("_orig") for k in state if k.endswith(".weight_orig")):
        weight, u, v = state[f"{name}_orig"], state[f"{name}_u"], state[f"{name}_v"]
        folded[name] = weight / torch.dot(u, torch.mv(weight.flatten(1), v))
    return folded
