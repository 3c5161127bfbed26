"""Write what ships into the catalogue: ``python -m sandbox.ship`` after training.

The catalogue names every file of the sandbox weights with size and SHA-256, so that a damaged one is noticed.
"""

import hashlib
from pathlib import Path

from omegaconf import OmegaConf

from sandbox.train import WEIGHTS
from weights.catalogue import CATALOGUE, WeightsFile

NOT_FOR_DRAWING = {"judge.safetensors"}


def main() -> None:
    """Replace the sandbox entry's list of files by what lies in its folder."""
    entries = OmegaConf.load(CATALOGUE)
    (sandbox,) = (entry for entry in entries if entry.name == "sandbox")
    files = [_describe(path) for path in sorted(WEIGHTS.rglob("*")) if path.is_file()]
    drawing = [file for file in files if Path(file.path).name not in NOT_FOR_DRAWING]
    sandbox.files = [file.model_dump(exclude_defaults=True) for file in drawing]
    OmegaConf.save(entries, CATALOGUE)
    print(f"{len(sandbox.files)} files, {sum(file.space for file in files) / 1e6:.1f} MB with the judge")


def _describe(path: Path) -> WeightsFile:
    content = path.read_bytes()
    name = path.relative_to(WEIGHTS.parent).as_posix()
    return WeightsFile(path=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


if __name__ == "__main__":
    main()
