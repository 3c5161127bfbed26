"""CLIP as guidance sees it: texts and pictures to unit vectors in one space (Radford et al. 2021)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import CLIPModel, PreTrainedTokenizerBase

from networks.clip_vision import ClipVision


@dataclass(frozen=True)
class Clip:
    """A frozen CLIP. ``mean`` and ``std`` normalise pictures; ``dtype`` is what its image tower runs in.

    The model's image tower is replaced by our own, which computes the same faster.
    """

    model: CLIPModel
    tokenizer: PreTrainedTokenizerBase
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: torch.dtype

    def __post_init__(self) -> None:
        if not isinstance(self.model.vision_model, ClipVision):
            self.model.vision_model = ClipVision.of(self.model.vision_model)

    @property
    def view(self) -> int:
        """Side in pixels of the square views that the image tower takes."""
        return int(self.model.config.vision_config.image_size)

    @property
    def device(self) -> torch.device:
        return self.model.device

    @torch.no_grad()
    def tokens(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Token ids and which of them are text, both (B, T); longer texts are cut at the tower's context."""
        context = self.model.config.text_config.max_position_embeddings
        encoded = self.tokenizer(
            texts, padding=True, truncation=True, max_length=context, return_tensors="pt"
        ).to(self.model.device)
        return encoded["input_ids"], encoded["attention_mask"].bool()

    @torch.no_grad()
    def encode_text(self, texts: list[str]) -> Tensor:
        """Texts to (B, D) unit vectors, float32."""
        ids, heard = self.tokens(texts)
        pooled = self.model.text_model(input_ids=ids, attention_mask=heard.long()).pooler_output
        return F.normalize(self.model.text_projection(pooled).float(), dim=-1)

    def encode_images(self, views: Tensor) -> Tensor:
        """Views (B, 3, view, view) in [0, 1] to (B, D) unit vectors, float32, differentiable."""
        mean, std = (views.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        pixels = ((views - mean) / std).to(self.dtype)
        return F.normalize(self.model.visual_projection(self.model.vision_model(pixels)).float(), dim=-1)

    def look(self, images: Tensor) -> Tensor:
        """Whole pictures (B, 3, H, W) in [0, 1] to (B, D) unit vectors."""
        return self.encode_images(F.interpolate(images, (self.view, self.view), mode="area"))
