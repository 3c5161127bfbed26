"""``python -m weights`` as people run it, with the real catalogue; the network's far end is a local proxy."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from settings import ROOT
from tests.jobs.processes import wait_until
from tests.weights.site import Site, open_site
from weights import catalogue
from weights.files import known_sha256

WIKIART = "http://eaidata.bmk.sh/data/Wikiart_16384/wikiart_f16_16384_8145600"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def site() -> Iterator[Site]:
    with open_site() as opened:
        yield opened


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


def start(folder: Path, *words: str, http: str = "", https: str = "") -> subprocess.Popen[str]:
    """Run the command with these proxies in front of everything."""
    proxies = {"http_proxy": http, "https_proxy": https, "no_proxy": ""}
    kept = {k: v for k, v in os.environ.items() if k.lower() not in (*proxies, "all_proxy")}
    return subprocess.Popen(
        [sys.executable, "-m", "weights", *words],
        cwd=ROOT,
        env=kept | proxies | {"STUDIO_WEIGHTS_DIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(folder: Path, *words: str, http: str = "", https: str = "") -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    process = start(folder, *words, http=http, https=https)
    out, error = process.communicate(timeout=60)
    return process.returncode, out, error


def test_every_set_is_listed_with_whether_it_is_installed(folder: Path) -> None:
    status, out, error = run(folder, "list")

    assert (status, error) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines()[1:]}
    assert list(rows) == [entry.name for entry in catalogue.entries()]
    assert all(" no " in row for row in rows.values())
    assert rows["vqgan-coco"].split()[1:3] == ["9.0", "GB"]
    assert rows["clip-vit-large-patch14"].endswith("part of vqgan-imagenet-16384-large")
    assert " yes " in run(ROOT / "res" / "weights", "list")[1].splitlines()[1]


def test_the_command_never_loads_torch() -> None:
    program = "import sys, weights.__main__; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0


def test_without_a_network_one_sentence_names_the_set_the_reason_and_the_offline_way(
    folder: Path, nobody: str
) -> None:
    status, out, error = run(folder, "download", "biggan-deep-128", http=nobody, https=nobody)

    assert (status, out) == (1, "")
    assert error == (
        "The weights 'biggan-deep-128' cannot be downloaded, for biggan-deep-128/config.json is missing: "
        "s3.amazonaws.com cannot be reached: Connection refused; fetch it elsewhere and run "
        "python -m weights import FILE --as biggan-deep-128.\n"
    )


def test_ctrl_c_keeps_what_has_arrived_and_the_same_command_goes_on(
    folder: Path, site: Site, nobody: str
) -> None:
    site.offer(f"{WIKIART}.yaml", b"model: {}")
    site.offer(f"{WIKIART}.ckpt", CONTENT, stalls_at=100_000)
    ckpt = folder / "vqgan-wikiart-16384" / "vqgan.ckpt"
    part = ckpt.with_name("vqgan.ckpt.part")
    asked = ("download", "vqgan-wikiart-16384")

    process = start(folder, *asked, http=site.address, https=nobody)
    assert site.stalled.wait(30)
    wait_until(lambda: part.exists() and part.stat().st_size > 0, "something has arrived")
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    kept = part.stat().st_size

    assert process.returncode == 130
    assert "Stopped. What has arrived is kept: the same command goes on from there." in error
    assert "Traceback" not in error
    assert not ckpt.exists()

    site.offers[f"{WIKIART}.ckpt"].stalls_at = None
    status, _, error = run(folder, *asked, http=site.address, https=nobody)

    assert site.asked[-1] == (f"{WIKIART}.ckpt", f"bytes={kept}-")
    assert ckpt.read_bytes() == CONTENT
    assert "vqgan-wikiart-16384/vqgan.ckpt: 100%" in error, "the progress bar reaches the end"
    assert status == 1, "its CLIP comes over https, which nobody answers here"
    assert "clip-vit-base-patch32/config.json is missing" in error


def test_files_at_hand_are_imported_verified_and_removed(folder: Path, tmp_path: Path) -> None:
    names = ["biggan-deep-256-config.json", "biggan-deep-256-pytorch_model.bin"]
    files = [tmp_path / name for name in names]
    for file in files:
        file.write_text(file.name)

    status, out, _ = run(folder, "import", *map(str, files))
    assert status == 0
    assert out.splitlines() == [f"biggan-deep-256/{name[16:]} is installed." for name in names]
    assert "clip-vit-base-patch32/config.json is missing" in run(folder, "verify", "biggan-deep-256")[2]

    (folder / "biggan-deep-256/pytorch_model.bin").write_text("damaged")
    status, _, error = run(folder, "verify", "biggan-deep-256")
    assert status == 1
    assert "pytorch_model.bin is damaged; install the weights 'biggan-deep-256' again." in error

    assert run(folder, "remove", "biggan-deep-256")[0] == 0
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["download", "mona-lisa"], "There are no weights 'mona-lisa'; choose one of sandbox, "),
        (["verify", "mona-lisa"], "There are no weights 'mona-lisa'"),
        (["remove", "mona-lisa"], "There are no weights 'mona-lisa'"),
        (["remove", "sandbox"], "The weights 'sandbox' ship with the project and stay."),
        (["remove", "vqgan-coco"], "The weights 'vqgan-coco' are not installed."),
        (["download", "sandbox"], "ships with the project and can only be restored from there."),
        (["import", "README.md"], "README.md is no file of any set of weights"),
        (["import", "gone.ckpt"], "gone.ckpt cannot be read: No such file or directory."),
        (["import", "README.md", "--as", "mona-lisa"], "There are no weights 'mona-lisa'"),
        (["verify", "vqgan-coco"], "is missing; install the weights 'vqgan-coco' again."),
    ],
)
def test_what_cannot_be_done_is_told_in_one_sentence(words: list[str], sentence: str, folder: Path) -> None:
    status, out, error = run(folder, *words)

    assert (status, out) == (1, "")
    assert sentence in error
    assert len(error.splitlines()) == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, nobody: str) -> None:
    (tmp_path / "taken").write_text("")

    status, _, error = run(tmp_path / "taken" / "weights", "download", "biggan-deep-128", https=nobody)

    assert status == 1
    assert "taken" in error
    assert len(error.splitlines()) == 1


def test_the_catalogue_is_complete_and_consistent() -> None:
    sets = {entry.name: entry for entry in catalogue.entries()}
    files = [file for entry in sets.values() for file in entry.files]

    assert {part for entry in sets.values() for part in entry.parts} <= set(sets)
    assert all({"vqgan", "clip"} <= set(e.networks) for e in sets.values() if "vqgan_clip" in e.generators)
    assert {file.path: file for file in files}.keys() == {file.path for file in set(files)}
    assert all(known_sha256(file, ROOT) or file.sources for file in files)
    assert all(file.path.startswith("sandbox/") or (file.sources and file.space) for file in files)
    for entry in sets.values():
        paths = {file.path for file in entry.files}
        for network in entry.networks.values():
            assert network in paths or any(path.startswith(f"{network}/") for path in paths)
        if "vqgan_clip" in entry.generators:
            assert str(Path(entry.networks["vqgan"]).with_suffix(".yaml")) in paths
