"""Write what ships into the catalogue: ``python -m sandbox.ship`` after training.

BigGAN's atlas, which needs the trained CLIP too, is drawn here.
The catalogue names every file of the sandbox weights with size and SHA-256, so that a damaged one is noticed.
"""

import hashlib
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file

from generators.biggan_clip import draw_atlas
from guidance.clip import Clip
from sandbox.train import WEIGHTS
from weights.catalogue import CATALOGUE, WeightsFile
from weights.loading import load_biggan

SHARED = ("clip/", "words.json")
FILES_OF = {
    "sandbox": (*SHARED, "prior.safetensors", "vqgan."),
    "sandbox-biggan": (*SHARED, "biggan/"),
}
"""How the names of each set's files begin; the judge is no use for drawing."""


def main() -> None:
    """Replace the sandbox entries' lists of files by what lies in their folder."""
    _write_atlas(WEIGHTS / "biggan")
    entries = OmegaConf.load(CATALOGUE)
    paths = [path for path in sorted(WEIGHTS.rglob("*")) if path.is_file()]
    for entry in entries:
        if entry.name in FILES_OF:
            own = [path for path in paths if _name(path).startswith(FILES_OF[entry.name])]
            entry.files = [_describe(path).model_dump(exclude_defaults=True) for path in own]
    OmegaConf.save(entries, CATALOGUE)
    print(f"{sum(path.stat().st_size for path in paths) / 1e6:.1f} MB with the judge")


def _write_atlas(folder: Path) -> None:
    clip = Clip.load(WEIGHTS / "clip", "cpu", torch.float32)
    biggan = load_biggan(folder / "config.json", folder / "biggan.safetensors")
    save_file({"classes": draw_atlas(biggan, clip).half()}, folder / "atlas.safetensors")


def _name(path: Path) -> str:
    return path.relative_to(WEIGHTS).as_posix()


def _describe(path: Path) -> WeightsFile:
    content = path.read_bytes()
    name = f"{WEIGHTS.name}/{_name(path)}"
    return WeightsFile(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
