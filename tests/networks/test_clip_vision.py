"""Our image tower computes what transformers' computes, and leads back to the same gradients."""

import copy

import pytest
import torch
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from guidance.clip import Clip
from networks.clip_vision import ClipVision
from settings import ROOT
from weights.loading import load_clip


def random_clip(hidden_act: str) -> CLIPModel:
    torch.manual_seed(0)
    tower = {"hidden_size": 48, "intermediate_size": 96, "num_attention_heads": 3, "num_hidden_layers": 3}
    vision = {**tower, "image_size": 48, "patch_size": 16, "hidden_act": hidden_act}
    config = CLIPConfig(text_config={**tower, "vocab_size": 10}, vision_config=vision, projection_dim=16)
    model = CLIPModel(config).eval().requires_grad_(False)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


def shipped_clip() -> CLIPModel:
    return load_clip(ROOT / "res" / "weights" / "sandbox" / "clip").model


@pytest.fixture(params=["quick_gelu", "gelu", "shipped"])
def model(request: pytest.FixtureRequest) -> CLIPModel:
    return shipped_clip() if request.param == "shipped" else random_clip(request.param)


def views_of(model: CLIPModel) -> Tensor:
    side = model.config.vision_config.image_size
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1)).requires_grad_(True)


def test_computes_what_the_original_computes(model: CLIPModel) -> None:
    expected_views, views = views_of(model), views_of(model)
    expected = model.vision_model(pixel_values=expected_views).pooler_output
    ours = ClipVision.of(model.vision_model)(views)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * direction).sum().backward()
    (ours * direction).sum().backward()
    assert expected_views.grad is not None
    assert expected_views.grad.abs().max() > 0
    torch.testing.assert_close(
        views.grad, expected_views.grad, atol=1e-5 * float(expected_views.grad.abs().max()), rtol=1e-4
    )


def test_clip_sees_through_it_and_can_share_its_model() -> None:
    model = random_clip("quick_gelu")
    views = views_of(model).detach()
    pooled = copy.deepcopy(model).vision_model(pixel_values=(views - 0.5) / 0.2).pooler_output
    expected = torch.nn.functional.normalize(model.visual_projection(pooled), dim=-1)
    for _ in range(2):
        clip = Clip(model, None, (0.5,) * 3, (0.2,) * 3, torch.float32)
        torch.testing.assert_close(clip.encode_images(views), expected, atol=1e-5, rtol=1e-5)


def test_no_weight_asks_for_a_gradient() -> None:
    tower = ClipVision.of(random_clip("gelu").vision_model)
    assert not any(weight.requires_grad for weight in tower.parameters())
