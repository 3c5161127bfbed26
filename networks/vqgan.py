"""The VQGAN of taming-transformers (Esser, Rombach, Ommer: "Taming Transformers", 2021).

Module names equal the original's, so its checkpoints load unchanged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import Tensor, nn

from networks.group_norm import GroupNorm

IMAGE_CHANNELS = 3


@dataclass(frozen=True)
class VQGANConfig:
    """Sizes of a VQGAN, named as in the original's configuration files.

    ``ch`` is the width at full resolution and ``ch_mult`` its multiple at each halving;
    ``attn_resolutions`` are the heights, for an input of height ``resolution``, at which attention
    follows the residual blocks. Images may have any size that ``VQGAN.downsampling`` divides.
    ``gumbel`` chooses codes by a learned projection instead of by distance.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = (16,)
    resolution: int = 256
    z_channels: int = 256
    embed_dim: int = 256
    n_embed: int = 16384
    gumbel: bool = False

    @classmethod
    def from_yaml(cls, path: Path) -> "VQGANConfig":
        """Read the original's layout: a VQModel, a GumbelVQ, or the first stage of a Net2NetTransformer.

        Raises:
            ValueError: the file does not describe a VQGAN.
        """
        try:
            document: Any = OmegaConf.to_container(OmegaConf.load(path))
            model = document["model"]
            model = model["params"].get("first_stage_config", model)
            params, sizes = model["params"], model["params"]["ddconfig"]
            return cls(
                ch=int(sizes["ch"]),
                ch_mult=tuple(sizes["ch_mult"]),
                num_res_blocks=int(sizes["num_res_blocks"]),
                attn_resolutions=tuple(sizes["attn_resolutions"]),
                resolution=int(sizes["resolution"]),
                z_channels=int(sizes["z_channels"]),
                embed_dim=int(params["embed_dim"]),
                n_embed=int(params["n_embed"]),
                gumbel=model["target"].endswith("GumbelVQ"),
            )
        except Exception as error:
            raise ValueError(f"{path} does not describe a VQGAN.") from error

    def to_yaml(self, path: Path) -> None:
        """Write the original's layout, which ``from_yaml`` reads."""
        sizes = {
            "ch": self.ch,
            "ch_mult": list(self.ch_mult),
            "num_res_blocks": self.num_res_blocks,
            "attn_resolutions": list(self.attn_resolutions),
            "resolution": self.resolution,
            "z_channels": self.z_channels,
            "double_z": False,
            "in_channels": IMAGE_CHANNELS,
            "out_ch": IMAGE_CHANNELS,
            "dropout": 0.0,
        }
        target = "taming.models.vqgan." + ("GumbelVQ" if self.gumbel else "VQModel")
        params = {
            "embed_dim": self.embed_dim,
            "n_embed": self.n_embed,
            "ddconfig": sizes,
        }
        OmegaConf.save({"model": {"target": target, "params": params}}, path)


class VQGAN(nn.Module):
    """Images to a grid of codes and back; (h, w) is (H, W) divided by ``downsampling``."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        quantizer = ProjectedCodes if config.gumbel else NearestCodes
        self.quantize: NearestCodes | ProjectedCodes = quantizer(config.n_embed, config.embed_dim)
        """Latent (B, embed_dim, h, w) to (quantized of the same shape, indices (B, h, w))."""
        self.quant_conv = nn.Conv2d(config.z_channels, config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    def encode(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1] to the latent before quantisation, (B, embed_dim, h, w)."""
        return self.quant_conv(self.encoder(images))

    def nearest(self, vectors: Tensor) -> Tensor:
        """Among the code vectors those nearest to ``vectors``, both (B, embed_dim, h, w).

        Guidance moves vectors in the codebook's space; a GumbelVQ's encoder gives a latent in another.
        """
        return self.embed(nearest_codes(vectors, self.codebook))

    def embed(self, indices: Tensor) -> Tensor:
        """Codes (B, h, w) to their vectors, (B, embed_dim, h, w)."""
        return F.embedding(indices, self.codebook).permute(0, 3, 1, 2)

    def decode(self, quantized: Tensor) -> Tensor:
        """Code vectors (B, embed_dim, h, w) to images (B, 3, H, W) in about [-1, 1], not clamped."""
        return self.decoder(self.post_quant_conv(quantized))

    @property
    def codebook(self) -> Tensor:
        """All code vectors, (n_embed, embed_dim)."""
        return self.quantize.codes.weight

    @property
    def downsampling(self) -> int:
        """Pixels of the image along one side of a code."""
        return 2 ** (len(self.config.ch_mult) - 1)


def nearest_codes(latent: Tensor, codebook: Tensor) -> Tensor:
    """Which vector of ``codebook`` (n, D) is nearest to each of a latent (B, D, h, w): (B, h, w).

    Found in float32 whatever the network runs in.
    """
    with torch.no_grad(), torch.autocast(latent.device.type, enabled=False):
        codes = codebook.float()
        vectors = latent.permute(0, 2, 3, 1).reshape(-1, codes.shape[1]).float()
        # |v - c|^2 less |v|^2, which is the same for every code
        distances = torch.addmm(codes.square().sum(1), vectors, codes.T, alpha=-2)
        return distances.argmin(1).view(latent.shape[0], *latent.shape[2:])


class NearestCodes(nn.Module):
    """Each latent vector becomes the code nearest to it."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_embed, embed_dim)

    @property
    def codes(self) -> nn.Embedding:
        return self.embedding

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        indices = nearest_codes(latent, self.embedding.weight)
        return self.embedding(indices).permute(0, 3, 1, 2), indices


class ProjectedCodes(nn.Module):
    """Each latent vector becomes the code that a learned projection scores highest (GumbelVQ)."""

    def __init__(self, n_embed: int, embed_dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(embed_dim, n_embed, 1)
        self.embed = nn.Embedding(n_embed, embed_dim)

    @property
    def codes(self) -> nn.Embedding:
        return self.embed

    def forward(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        indices = self.proj(latent).argmax(1)
        return self.embed(indices).permute(0, 3, 1, 2), indices


class Encoder(nn.Module):
    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.ch * multiple for multiple in config.ch_mult]
        self.conv_in = _conv3(IMAGE_CHANNELS, config.ch)
        self.down = nn.ModuleList(
            Level(
                inputs=config.ch if level == 0 else widths[level - 1],
                outputs=width,
                blocks=config.num_res_blocks,
                attention=config.resolution // 2**level in config.attn_resolutions,
                downsample=level < len(widths) - 1,
            )
            for level, width in enumerate(widths)
        )
        self.mid = Middle(widths[-1])
        self.norm_out = _norm(widths[-1])
        self.conv_out = _conv3(widths[-1], config.z_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_in(x)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class Decoder(nn.Module):
    """``up`` is numbered by level, as in the encoder, and so runs from its end."""

    def __init__(self, config: VQGANConfig) -> None:
        super().__init__()
        widths = [config.ch * multiple for multiple in config.ch_mult]
        self.conv_in = _conv3(config.z_channels, widths[-1])
        self.mid = Middle(widths[-1])
        self.up = nn.ModuleList(
            Level(
                inputs=widths[min(level + 1, len(widths) - 1)],
                outputs=width,
                blocks=config.num_res_blocks + 1,
                attention=config.resolution // 2**level in config.attn_resolutions,
                upsample=level > 0,
            )
            for level, width in enumerate(widths)
        )
        self.norm_out = _norm(widths[0])
        self.conv_out = _conv3(widths[0], IMAGE_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.conv_in(x))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class Level(nn.Module):
    """The blocks at one resolution, then the step to the next one."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        blocks: int,
        attention: bool,
        downsample: bool = False,
        upsample: bool = False,
    ) -> None:
        super().__init__()
        self.block = nn.ModuleList(ResnetBlock(outputs if i else inputs, outputs) for i in range(blocks))
        self.attn = nn.ModuleList(AttnBlock(outputs) for _ in range(blocks if attention else 0))
        self.downsample = Downsample(outputs) if downsample else nn.Identity()
        self.upsample = Upsample(outputs) if upsample else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x = block(x)
            if self.attn:
                x = self.attn[i](x)
        return self.upsample(self.downsample(x))


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels)
        self.attn_1 = AttnBlock(channels)
        self.block_2 = ResnetBlock(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x)))


class ResnetBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = _norm(inputs)
        self.conv1 = _conv3(inputs, outputs)
        self.norm2 = _norm(outputs)
        self.conv2 = _conv3(outputs, outputs)
        self.nin_shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.nin_shortcut(x) + h


class AttnBlock(nn.Module):
    """Attention among all places, one head; plain products, whose backward is fast on CPUs too."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = _norm(channels)
        self.q = nn.Conv2d(channels, channels, 1)
        self.k = nn.Conv2d(channels, channels, 1)
        self.v = nn.Conv2d(channels, channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        normed = self.norm(x)
        q, k, v = (conv(normed).flatten(2).transpose(1, 2) for conv in (self.q, self.k, self.v))
        weights = (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1)  # (B, places, places)
        attended = (weights @ v).transpose(1, 2).unflatten(2, x.shape[2:])
        return x + self.proj_out(attended)


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0))


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def _norm(channels: int) -> GroupNorm:
    return GroupNorm(32, channels, eps=1e-6)
