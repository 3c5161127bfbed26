"""How the sandbox CLIP is trained, so that the gradient of its score points at what the prompt names.

An ordinary small CLIP is fooled by blobs of the right colours. This one learns, besides matching captions, to
read every attribute of the scene (a head that is thrown away), and after a warm-up it learns on pictures
moved against it within an L2 ball: such networks have perceptually aligned gradients (Santurkar et al. 2019;
Ganz and Elad 2023).
"""

import copy
import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel

from sandbox.attributes import LOGITS, attribute_loss, fits, targets
from sandbox.data import SIZE, SceneData
from sandbox.loop import Learner
from sandbox.scenes import vocabulary
from sandbox.tokenizer import BEGIN, CONTEXT, END, PAD, CaptionData, build_tokenizer

VIEW = 64  # pixels that the image tower sees
SEED = 2
BATCH = 128
LEARNING_RATE = 1e-3
WARM_UP = 200
ATTACKED_FROM = 0.25  # of the budget
ATTACKED_SHARE = 0.6  # of the batches
ATTACK_RADIUS = 2.5  # L2 on [0, 1] pictures
ATTACK_STEPS = 2
SMALLEST_VIEW = 0.75  # of the picture's side
LONGEST = 24  # tokens of any caption
FAMILY_SHARE = 0.5  # of the batches are of two families only: harder to tell apart


def clip_config() -> CLIPConfig:
    """A CLIP of 4.6 million parameters over the sandbox's words."""
    ids = build_tokenizer().get_vocab()
    tower = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_attention_heads": 3,
        "hidden_act": "gelu",
    }
    return CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(ids),
            "num_hidden_layers": 4,
            "max_position_embeddings": CONTEXT,
            "bos_token_id": ids[BEGIN],
            "eos_token_id": ids[END],
            "pad_token_id": ids[PAD],
        },
        vision_config={**tower, "num_hidden_layers": 6, "image_size": VIEW, "patch_size": 8},
        projection_dim=128,
        logit_scale_init_value=math.log(1 / 0.07),
        attn_implementation="eager",
    )


class ClipRecipe:
    def __init__(self, data: SceneData) -> None:
        torch.manual_seed(SEED)
        self.data, self.captions, self.targets = data, CaptionData(data.scenes), targets(data.scenes)
        self.families = self.targets[:, 0]
        self.random = torch.Generator().manual_seed(SEED)
        self.clip = CLIPModel(clip_config())
        self.reader = nn.Linear(self.clip.config.vision_config.hidden_size, LOGITS)
        self.network = nn.ModuleDict({"clip": self.clip, "reader": self.reader})
        self._image_features = torch.compile(self._image_features)
        self._text_features = torch.compile(self._text_features)
        self.learner = Learner(self.network, self.random, LEARNING_RATE, WARM_UP, weight_decay=0.02)

    def step(self, step: int, progress: float) -> dict[str, float]:
        indices = self._indices()
        views, wanted = self._views(self.data.batch(indices)), self.targets[indices]
        wordings = self.captions.choose(indices, self.random)
        true = fits(wanted, self.captions.stated[wordings])
        attacked = torch.rand((), generator=self.random) < ATTACKED_SHARE
        with torch.autocast("cpu", torch.bfloat16):
            texts = self._text_features(self.captions.tokens[wordings, :LONGEST].long())
            if progress >= ATTACKED_FROM and attacked:
                views = self._attack(views, texts.detach(), true)
            images, logits = self._image_features(views)
        matching, right = self._matching(images, texts, true)
        reading = attribute_loss(logits, wanted)
        self.learner.update(matching + reading, step, progress)
        self.clip.logit_scale.data.clamp_(max=math.log(100))
        return {"matching": matching.item(), "reading": reading.item(), "top1": right}

    def _indices(self) -> Tensor:
        if torch.rand((), generator=self.random) >= FAMILY_SHARE:
            return torch.randint(len(self.data), (BATCH,), generator=self.random)
        pair = torch.randperm(int(self.families.max()) + 1, generator=self.random)[:2]
        pool = torch.randint(len(self.data), (BATCH * 8,), generator=self.random)
        return pool[torch.isin(self.families[pool], pair)][:BATCH]

    def _views(self, images: Tensor) -> Tensor:
        """One random crop for the batch, most of the picture, at the tower's size, with a little noise."""
        scale = SMALLEST_VIEW + (1 - SMALLEST_VIEW) * torch.rand((), generator=self.random).item()
        if torch.rand((), generator=self.random) < 0.4:
            scale = 1.0
        side = round(SIZE * scale)
        top, left = (int(torch.randint(SIZE - side + 1, (), generator=self.random)) for _ in range(2))
        crop = images[:, :, top : top + side, left : left + side]
        views = F.interpolate(crop, size=(VIEW, VIEW), mode="area")
        noise = 0.05 * torch.rand((), generator=self.random).item()
        return views + noise * torch.randn(views.shape, generator=self.random)

    def _image_features(self, views: Tensor) -> tuple[Tensor, Tensor]:
        pooled = self.clip.vision_model(pixel_values=views * 2 - 1).pooler_output
        return F.normalize(self.clip.visual_projection(pooled).float(), dim=-1), self.reader(pooled)

    def _text_features(self, tokens: Tensor) -> Tensor:
        pooled = self.clip.text_model(input_ids=tokens, attention_mask=(tokens != 0).long()).pooler_output
        return F.normalize(self.clip.text_projection(pooled).float(), dim=-1)

    def _matching(self, images: Tensor, texts: Tensor, true: Tensor) -> tuple[Tensor, float]:
        """CLIP's loss, but every caption that holds for a picture counts as its own; and the share right."""
        logits = self.clip.logit_scale.exp() * images @ texts.T
        to_texts, to_images = (t / t.sum(1, keepdim=True) for t in (true.float(), true.T.float()))
        loss = (F.cross_entropy(logits, to_texts) + F.cross_entropy(logits.T, to_images)) / 2
        right = true.gather(1, logits.argmax(1, keepdim=True))
        return loss, right.float().mean().item()

    def _attack(self, views: Tensor, texts: Tensor, true: Tensor) -> Tensor:
        """Projected gradient ascent on the matching loss, each picture within a random radius."""
        radius = ATTACK_RADIUS * torch.rand(len(views), 1, 1, 1, generator=self.random)
        delta = torch.zeros_like(views)
        for _ in range(ATTACK_STEPS):
            delta.requires_grad_(True)
            loss, _ = self._matching(self._image_features(views + delta)[0], texts, true)
            (gradient,) = torch.autograd.grad(loss, delta)
            delta = delta.detach() + radius * (1.5 / ATTACK_STEPS) * _unit(gradient)
            delta *= (radius / delta.flatten(1).norm(dim=1).clamp(min=1e-8).view(-1, 1, 1, 1)).clamp(max=1)
        return (views + delta).detach()

    def sample(self, path: Path) -> None:
        """Nothing to draw: this network only looks."""

    def export(self, folder: Path) -> None:
        clip = copy.deepcopy(self.clip).half()
        clip.save_pretrained(folder / "clip")
        build_tokenizer().save_pretrained(folder / "clip")
        normalisation = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3, "size": VIEW}
        (folder / "clip" / "preprocessor_config.json").write_text(json.dumps(normalisation) + "\n")
        (folder / "words.json").write_text(json.dumps(vocabulary(), indent=0) + "\n")


def _unit(gradient: Tensor) -> Tensor:
    return gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
