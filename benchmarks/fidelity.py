"""Does a person find the prompt in the picture? A judge that guidance never saw says so for 100 prompts.

``python benchmarks/fidelity.py`` draws 100 held-out prompts of all families at the product's defaults, prints
how often the judge ranks the right caption first among the 100 and how many of the named attributes it reads
right, the same for real scenes beside it, and writes a contact sheet. Pictures are kept and not drawn twice
(``--fresh`` forgets them). Bars: 80 of 100, 85 %; for ``--generator biggan_clip`` 85 of 100.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from generators.contract import Context
from generators.registry import load, parse_spec
from sandbox.data import SIZE, rendered
from sandbox.evaluate import distinct_scenes, first_by_family, judge_logits, judge_scores, stated_accuracy
from sandbox.recipes.judge import load_judge
from sandbox.scenes import HELD_OUT, Caption, Scene
from sandbox.sheet import write_sheet
from settings import ROOT

SANDBOX = {"vqgan_clip": "sandbox", "biggan_clip": "sandbox-biggan"}
FIRST_SEED = HELD_OUT + 500_000_000


def main() -> None:
    """Draw, judge, print; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--generator", default="vqgan_clip")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "fidelity")
    parser.add_argument("--fresh", action="store_true")
    parser.add_argument("parameters", nargs="*", help="parameters of the spec, as name=value")
    options = parser.parse_args()
    pairs = distinct_scenes(options.count, FIRST_SEED)
    given = dict(item.split("=", 1) for item in options.parameters)
    pictures = draw_all(pairs, options.generator, given, options.out, options.fresh)
    real = torch.cat(list(rendered([scene for scene, _ in pairs])))
    judge = load_judge(ROOT / "res" / "weights" / "sandbox")
    for title, shown in (("real scenes", real), ("drawn from the prompt", pictures)):
        shares = first_by_family(judge_scores(judge, shown, pairs), pairs)
        right = stated_accuracy(judge_logits(judge, shown), pairs)
        families = ", ".join(f"{family} {share:.0%}" for family, share in shares.items() if family != "all")
        print(f"{title}: right caption first {shares['all']:.1%}; attributes read right {right:.1%}")
        print(f"    first by family: {families}")
    write_sheet(options.out / "sheet.png", pictures, columns=8)
    print(f"contact sheet, a column a family: {options.out / 'sheet.png'}")


def draw_all(
    pairs: list[tuple[Scene, Caption]], generator: str, given: dict[str, str], out: Path, fresh: bool
) -> torch.Tensor:
    """The finished picture of every caption, (B, 3, 128, 128) in [0, 1]."""
    out.mkdir(parents=True, exist_ok=True)
    generate, seconds, pictures = load(generator), [], []
    context = Context("cuda" if torch.cuda.is_available() else "cpu", ROOT / "res" / "weights")
    for number, (_, caption) in enumerate(tqdm(pairs, "drawing", unit="picture")):
        file = out / f"{number:03}.png"
        if fresh or not file.exists():
            spec = parse_spec(
                generator, {"weights": SANDBOX[generator], **given, "prompt": caption.text, "seed": number}
            )
            began = time.perf_counter()
            *_, last = generate(spec, context)
            seconds.append(time.perf_counter() - began)
            Image.fromarray(last.image).save(file)
        pictures.append(_at_judges_size(torch.from_numpy(np.array(Image.open(file)))))
    if seconds:
        print(f"seconds a picture: median {np.median(seconds):.1f}, longest {max(seconds):.1f}")
    return torch.stack(pictures)


def _at_judges_size(image: torch.Tensor) -> torch.Tensor:
    """An image (H, W, 3) uint8 to (3, 128, 128) in [0, 1]: some generators draw smaller ones."""
    picture = image.permute(2, 0, 1)[None].float().div(255)
    return F.interpolate(picture, (SIZE, SIZE), mode="bicubic", antialias=True).clamp(0, 1)[0]


if __name__ == "__main__":
    main()
