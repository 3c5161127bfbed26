"""How the judge is trained: a convolutional network that reads a scene's attributes and never saw a caption.

It judges what guidance makes, so it shares nothing with it: another architecture, another seed, no text, and
only scenes to learn from (a little blurred, shifted and noised).
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from sandbox.attributes import LOGITS, accuracy, attribute_loss, targets
from sandbox.data import SIZE, SceneData
from sandbox.loop import Learner

SEED = 4
BATCH = 48
WIDTHS = (32, 64, 96, 128, 192)
LEARNING_RATE = 2e-3
WARM_UP = 100
SHIFT = 6  # pixels


class Judge(nn.Module):
    """Pictures (B, 3, 128, 128) in [0, 1] to attribute logits (B, LOGITS)."""

    def __init__(self) -> None:
        super().__init__()
        stages: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 5, stride=2, padding=2, bias=False)]
        for inputs, outputs in zip(WIDTHS, WIDTHS[1:], strict=False):
            stages += [Residual(inputs), Halve(inputs, outputs)]
        self.stages = nn.Sequential(*stages, Residual(WIDTHS[-1]))
        self.norm = nn.BatchNorm2d(WIDTHS[-1])
        self.places = nn.Conv2d(WIDTHS[-1], 64, 1)
        self.summary = nn.Linear(64 * 16, 256)
        self.read = nn.Linear(256, LOGITS)

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.norm(self.stages(images * 2 - 1)))
        pooled = F.adaptive_avg_pool2d(self.places(x), 4).flatten(1)  # 4 x 4 places: where things are counts
        return self.read(F.relu(self.summary(pooled)))


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.norm2(self.conv1(F.relu(self.norm1(x))))))


class Halve(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(inputs)
        self.conv = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.relu(self.norm(x)))


class JudgeRecipe:
    def __init__(self, data: SceneData) -> None:
        torch.manual_seed(SEED)
        self.data, self.targets = data, targets(data.scenes)
        self.random = torch.Generator().manual_seed(SEED)
        self.network = Judge()
        self.learner = Learner(self.network, self.random, LEARNING_RATE, WARM_UP, weight_decay=0.05)

    def step(self, step: int, progress: float) -> dict[str, float]:
        indices = torch.randint(len(self.data), (BATCH,), generator=self.random)
        with torch.autocast("cpu", torch.bfloat16):
            logits = self.network(self._disturb(self.data.batch(indices))).float()
        loss = attribute_loss(logits, self.targets[indices])
        self.learner.update(loss, step, progress)
        return {"loss": loss.item(), "right": accuracy(logits, self.targets[indices])}

    def _disturb(self, images: Tensor) -> Tensor:
        """Shift, and half of the time lose detail, so that a soft picture is judged by what it shows."""
        top, left = (int(torch.randint(2 * SHIFT + 1, (), generator=self.random)) for _ in range(2))
        padded = F.pad(images, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
        images = padded[:, :, top : top + SIZE, left : left + SIZE]
        if torch.rand((), generator=self.random) < 0.5:
            size = int(torch.randint(SIZE // 2, SIZE, (), generator=self.random))
            small = F.interpolate(images, size=(size, size), mode="area")
            images = F.interpolate(small, size=(SIZE, SIZE), mode="bilinear")
        noise = 0.06 * torch.rand(len(images), 1, 1, 1, generator=self.random)
        return images + noise * torch.randn(images.shape, generator=self.random)

    def sample(self, path: Path) -> None:
        """Nothing to draw: this network only looks."""

    def export(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state = self.network.state_dict()
        halved = {n: v.half() if v.is_floating_point() else v for n, v in state.items()}
        save_file(halved, folder / "judge.safetensors")


def load_judge(folder: Path) -> Judge:
    """The shipped judge in float32, ready to look."""
    judge = Judge()
    state = load_file(folder / "judge.safetensors")
    judge.load_state_dict({n: v.float() if v.is_floating_point() else v for n, v in state.items()})
    return judge.eval().requires_grad_(False)
