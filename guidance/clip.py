"""CLIP as guidance sees it: texts and pictures to unit vectors in one space (Radford et al. 2021).

SigLIP (Zhai et al. 2023) is one too: trained with another loss, used alike.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerBase, SiglipModel

from networks.clip_vision import ClipVision
from weights.loading import load_clip

IMAGE_TOWER = ("vision_model", "visual_projection")
"""Parts of the model; SigLIP has no projection."""


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP. ``mean`` and ``std`` normalise pictures; ``dtype`` is what its image tower runs in.

    OpenAI's image tower is replaced by our own, which computes the same faster.
    """

    model: CLIPModel | SiglipModel
    tokenizer: PreTrainedTokenizerBase
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if isinstance(self.model, CLIPModel) and not isinstance(self.model.vision_model, ClipVision):
            self.model.vision_model = ClipVision.of(self.model.vision_model)

    @classmethod
    def load(cls, folder: Path, device: str, dtype: torch.dtype) -> Self:
        """Load a CLIP from its folder, the image tower in ``dtype``. Raises WeightsError."""
        clip = cls(*load_clip(folder, device), dtype)
        for name in IMAGE_TOWER:
            if part := getattr(clip.model, name, None):
                part.to(dtype)
        return clip

    @property
    def view(self) -> int:
        """Side in pixels of the square views that the image tower takes."""
        return int(self.model.config.vision_config.image_size)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @property
    def fills_texts(self) -> bool:
        """Whether texts are filled up to the full context and the filling is heard: SigLIP learned it so."""
        return isinstance(self.model, SiglipModel)

    @torch.no_grad()
    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are text, both (B, T); longer texts are cut at the tower's context."""
        context = self.model.config.text_config.max_position_embeddings
        encoded = self.tokenizer(
            texts,
            padding="max_length" if self.fills_texts else True,
            truncation=True,
            max_length=context,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self.model.device)
        return encoded["input_ids"], encoded["attention_mask"].bool() | self.fills_texts

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts to (B, D) unit vectors, float32."""
        ids, heard = self.tokens(texts)
        features = self.model.get_text_features(input_ids=ids, attention_mask=heard.long())
        return F.normalize(features.pooler_output.float(), dim=-1)

    def encode_images(self, views: Tensor) -> Tensor:
        """Views (B, 3, view, view) in [0, 1] to (B, D) unit vectors, float32, differentiable."""
        mean, std = (views.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        pixels = ((views - mean) / std).to(self.dtype)
        if isinstance(self.model, SiglipModel):
            features = self.model.vision_model(pixel_values=pixels).pooler_output
        else:
            features = self.model.visual_projection(self.model.vision_model(pixels))
        return F.normalize(features.float(), dim=-1)

    def look(self, images: Tensor) -> Tensor:
        """Whole pictures (B, 3, H, W) in [0, 1] to (B, D) unit vectors."""
        return self.encode_images(F.interpolate(images, (self.view, self.view), mode="area"))
