"""Write what ships into the catalogue: ``python -m sandbox.ship`` after training.

The catalogue names every file of the sandbox weights with size and SHA-256, so that a damaged one is noticed.
"""

import hashlib
from pathlib import Path

from omegaconf import OmegaConf

from sandbox.train import WEIGHTS
from weights.catalogue import CATALOGUE, WeightsFile

SHARED = ("clip/", "words.json")
FILES_OF = {
    "sandbox": (*SHARED, "prior.safetensors", "vqgan."),
    "sandbox-biggan": (*SHARED, "biggan/"),
}
"""How the names of each set's files begin; the judge is no use for drawing."""


def main() -> None:
    """Replace the sandbox entries' lists of files by what lies in their folder."""
    entries = OmegaConf.load(CATALOGUE)
    paths = [path for path in sorted(WEIGHTS.rglob("*")) if path.is_file()]
    for entry in entries:
        if entry.name in FILES_OF:
            own = [path for path in paths if _name(path).startswith(FILES_OF[entry.name])]
            entry.files = [_describe(path).model_dump(exclude_defaults=True) for path in own]
    OmegaConf.save(entries, CATALOGUE)
    print(f"{sum(path.stat().st_size for path in paths) / 1e6:.1f} MB with the judge")


def _name(path: Path) -> str:
    return path.relative_to(WEIGHTS).as_posix()


def _describe(path: Path) -> WeightsFile:
    content = path.read_bytes()
    name = f"{WEIGHTS.name}/{_name(path)}"
    return WeightsFile(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
