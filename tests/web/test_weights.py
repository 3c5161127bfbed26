"""The Weights page and its routes, on a real folder and a real server that gives files."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from streamlit.testing.v1 import AppTest

from generators import registry
from settings import ROOT
from tests.jobs.processes import wait_until
from tests.web.conftest import RULES
from tests.weights.site import Site, open_site
from web import studio
from web.permissions import WHY_NO_WEIGHTS
from web.studio import Studio
from weights import catalogue
from weights.desk import WeightsDesk
from weights.store import Store

VQGAN = bytes(range(256)) * 1000
CLIP = b"clip" * 1000


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with open_site() as opened:
        yield opened


@pytest.fixture
def weights_dir(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def installing(
    house: Studio, site: Site, weights_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Studio]:
    """A studio whose catalogue has one set for a generator and its part, both on the site."""
    common = {"draws": "small things", "licence": "MIT", "memory_gb": 1}
    clip = {"name": "clip", "title": "Small CLIP", "generators": [], "networks": {}, **common}
    clip["files"] = [known_file("clip/clip.safetensors", CLIP, site)]
    tiny = {"name": "tiny", "title": "Tiny VQGAN", "generators": ["vqgan_clip"], "networks": {}, **common}
    tiny |= {"parts": ["clip"], "files": [known_file("tiny/vqgan.ckpt", VQGAN, site)]}
    path = weights_dir.with_name("catalogue.yaml")
    path.write_text(json.dumps([tiny, clip]))
    monkeypatch.setattr(catalogue, "CATALOGUE", path)
    catalogue.entries.cache_clear()
    opened = replace(
        house,
        generators=registry.generators(weights_dir),
        weights=WeightsDesk(Store(weights_dir, catalogue.entries())),
    )
    studio.use(lambda: opened)
    yield opened
    catalogue.entries.cache_clear()


def known_file(path: str, content: bytes, site: Site) -> dict[str, object]:
    source = site.offer(f"/{Path(path).name}", content)
    return {
        "path": path,
        "size": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "sources": [source],
    }


def visit(file: str) -> AppTest:
    page = AppTest.from_file(str(ROOT / "web" / "main.py"), default_timeout=60).switch_page(file).run()
    assert not page.exception
    return page


def shown(page: AppTest) -> str:
    return " ".join(html.value for html in page.main.html)


def labels(page: AppTest) -> list[str]:
    return [button.label for button in page.button]


def wait(house: Studio, name: str = "tiny") -> None:
    wait_until(lambda: not house.weights.status(name).downloading, f"the download of {name} ended")


def test_a_set_is_downloaded_and_offered_at_once(installing: Studio, weights_dir: Path) -> None:
    assert visit("generate.py").error[0].value.startswith("No weights are installed")
    page = visit("weights.py")
    for words in ("Tiny VQGAN", "small things", "VQGAN + CLIP", "0.3 MB", "1 GB", "MIT"):
        assert words in shown(page)

    page.button(key="download-tiny").click().run()
    wait(installing)
    page = visit("weights.py")

    assert shown(page).count("installed</span>") == 2
    generate = visit("generate.py")
    assert generate.selectbox(key="vqgan_clip.weights").options == ["Tiny VQGAN"]
    assert (weights_dir / "tiny/vqgan.ckpt").read_bytes() == VQGAN


def test_a_download_in_work_is_shown_to_every_visitor_and_may_be_stopped(
    installing: Studio, site: Site
) -> None:
    site.offers["/vqgan.ckpt"].stalls_at = 128_000
    visit("weights.py").button(key="download-tiny").click().run()
    wait_until(lambda: installing.weights.status("tiny").arrived == 128_000, "the download stalled")

    page = visit("weights.py")
    assert "downloading" in shown(page)
    assert page.get("progress")[0].proto.text == "0.1 MB of 0.3 MB"
    assert "download-tiny" not in {button.key for button in page.button}
    page.button(key="stop-tiny").click().run()

    assert "0.1 MB are here" in shown(page)
    assert page.button(key="download-tiny").label == "Download"


def test_without_a_network_one_sentence_says_so_and_stays(installing: Studio, site: Site) -> None:
    site.offers.clear()
    visit("weights.py").button(key="download-tiny").click().run()
    wait(installing)
    (error,) = visit("weights.py").error
    assert error.value.startswith("The weights 'tiny' cannot be downloaded, for tiny/vqgan.ckpt is missing:")
    assert error.value.endswith("fetch it elsewhere and run python -m weights import FILE --as tiny.")


def test_an_installed_set_is_verified_and_removed(installing: Studio, weights_dir: Path) -> None:
    installing.weights.download("tiny")
    wait(installing)
    page = visit("weights.py")
    page.button(key="verify-tiny").click().run()
    assert page.success[0].value == "Every file is whole."

    (weights_dir / "tiny/vqgan.ckpt").write_bytes(VQGAN[::-1])
    page.button(key="verify-tiny").click().run()
    assert "vqgan.ckpt is damaged; install the weights 'tiny' again." in page.error[0].value

    page.button(key="remove-clip").click().run()
    assert page.error[0].value == "The weights 'clip' stay: 'tiny' draws with them; remove that first."
    page.button(key="remove-tiny").click().run()
    assert not page.error
    assert list(weights_dir.iterdir()) == []


def test_who_may_not_sees_the_list_without_buttons_and_why(installing: Studio) -> None:
    studio.use(lambda: replace(installing, rules=replace(RULES, manage_weights=False)))
    page = visit("weights.py")
    assert "Tiny VQGAN" in shown(page)
    assert page.info[0].value == WHY_NO_WEIGHTS
    assert not page.button


def test_what_ships_is_neither_downloaded_nor_removed(house: Studio) -> None:
    assert {"import-sandbox"} == {
        str(button.key) for button in visit("weights.py").button if str(button.key).endswith("-sandbox")
    }


def test_the_api_lists_downloads_verifies_and_removes(installing: Studio, client: TestClient) -> None:
    listed = client.get("/weights").json()
    assert [(one["name"], one["installed"], one["size_bytes"]) for one in listed] == [
        ("tiny", False, len(VQGAN) + len(CLIP)),
        ("clip", False, len(CLIP)),
    ]
    assert listed[0]["generators"] == ["vqgan_clip"]
    assert listed[1]["part_of"] == ["Tiny VQGAN"]
    described = client.get("/openapi.json").json()

    asked = client.post("/weights/tiny/download")
    assert asked.status_code == 202
    wait(installing)

    done = client.get("/weights/tiny").json()
    assert (done["installed"], done["downloading"], done["problem"]) == (True, False, None)
    assert done["arrived_bytes"] == done["size_bytes"]
    assert client.get("/generators").json()[0]["weights"][0]["name"] == "tiny"
    assert weights_in(described) == []
    assert weights_in(client.get("/openapi.json").json()) == ["tiny"]
    assert client.post("/weights/tiny/verify").status_code == 200
    assert client.delete("/weights/clip").status_code == 422
    assert not client.delete("/weights/tiny").json()["installed"]


def weights_in(description: dict[str, object]) -> object:
    jobs = description["components"]["schemas"]["NewJob"]["oneOf"]  # type: ignore[index]
    return [name for job in jobs for name in job["properties"]["parameters"]["properties"]["weights"]["enum"]]


def test_the_api_imports_and_stops(
    installing: Studio, client: TestClient, site: Site, tmp_path: Path
) -> None:
    (tmp_path / "clip").write_bytes(CLIP)
    imported = client.post("/weights/tiny/import", json={"paths": [str(tmp_path / "clip")]}).json()
    assert (imported["installed"], imported["arrived_bytes"]) == (False, len(CLIP))
    assert client.get("/weights/clip").json()["installed"]

    site.offers["/vqgan.ckpt"].stalls_at = 128_000
    client.post("/weights/tiny/download")
    wait_until(lambda: client.get("/weights/tiny").json()["arrived_bytes"] == 132_000, "the download stalled")
    again = client.post("/weights/tiny/import", json={"paths": [str(tmp_path / "clip")]})
    assert again.json() == {"error": "Weights are being downloaded now: wait for that, or stop it first."}
    assert not client.delete("/weights/tiny/download").json()["downloading"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/weights/tiny/download"),
        ("DELETE", "/weights/tiny/download"),
        ("POST", "/weights/tiny/verify"),
        ("POST", "/weights/tiny/import"),
        ("DELETE", "/weights/tiny"),
    ],
)
def test_the_api_changes_nothing_for_who_may_not(
    installing: Studio, new_client: Callable[..., TestClient], method: str, path: str
) -> None:
    client = new_client(replace(RULES, manage_weights=False))
    answer = client.request(method, path, json={"paths": ["/x"]} if path.endswith("import") else None)
    assert (answer.status_code, answer.json()) == (403, {"error": WHY_NO_WEIGHTS})
    assert client.get("/weights").status_code == 200
    assert not installing.weights.status("tiny").downloading


def test_unknown_weights_are_answered_with_the_known_ones(installing: Studio, client: TestClient) -> None:
    for method, path in (("GET", "/weights/x"), ("POST", "/weights/x/download"), ("DELETE", "/weights/x")):
        answer = client.request(method, path)
        assert answer.status_code == 404
        assert answer.json() == {"error": "There are no weights 'x'; choose one of tiny, clip."}
