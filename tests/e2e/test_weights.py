"""A fresh machine whose folder of weights is empty: what people do on the Weights page, in a real browser.

Addresses with http lead to a server of the test, as if that were the network; those with https to nobody.
"""

import re
import socket
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.e2e.conftest import ROOT, RunningStudio, wait_for
from tests.e2e.steps import visit
from tests.weights.site import Offer, Site, open_site
from weights import catalogue

pytestmark = pytest.mark.e2e

NewPerson = Callable[..., Page]
WIKIART = "http://eaidata.bmk.sh/data/Wikiart_16384/wikiart_f16_16384_8145600"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with open_site() as opened:
        yield opened


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory, site: Site) -> Iterator[RunningStudio]:
    folder = tmp_path_factory.mktemp("studio")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        away = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        running = RunningStudio(
            folder,
            STUDIO_WEIGHTS_DIR=str(folder / "weights"),
            http_proxy=site.address,
            https_proxy=away,
            no_proxy="localhost",
        )
        try:
            running.wait_until_up()
            running.start_executor()
            wait_for(lambda: running.call("/executors"))
            yield running
        finally:
            running.stop()


def card(page: Page, name: str) -> Locator:
    return page.locator(f".st-key-card-weights-{name}")


def test_weights_are_imported_and_drawn_with_without_a_restart(
    new_person: NewPerson, studio: RunningStudio
) -> None:
    page = new_person()
    expect(page.get_by_text("No weights are installed")).to_be_visible()

    visit(page, "Weights")
    sandbox = card(page, "sandbox")
    expect(sandbox.get_by_text("not installed")).to_be_visible()
    sandbox.get_by_role("button", name="Import").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Import").click()
    expect(dialog.get_by_text("There is nothing to import: choose a file")).to_be_visible()
    dialog.get_by_label("From the studio's machine").fill(str(ROOT / "README.md"))
    dialog.get_by_role("button", name="Import").click()
    expect(dialog.get_by_text("README.md is no file of the weights 'sandbox'")).to_be_visible()
    shipped = [ROOT / "res" / "weights" / file.path for file in catalogue.entry("sandbox").files]
    dialog.locator('input[type="file"]').set_input_files(shipped[:3])
    expect(dialog.get_by_role("button", name=f"Remove {shipped[2].name}")).to_be_visible()
    dialog.get_by_label("From the studio's machine").fill("\n".join(map(str, shipped[3:])))
    dialog.get_by_role("button", name="Import").click()
    expect(dialog).to_have_count(0)
    expect(sandbox.get_by_text("installed", exact=True)).to_be_visible()
    sandbox.get_by_role("button", name="Verify").click()
    expect(sandbox.get_by_text("Every file is whole.")).to_be_visible()

    visit(page, "Text-to-Image Generation")
    expect(page.get_by_text("The weights Sandbox know")).to_be_visible()
    quick = {"prompt": "a red circle", "init": "noise", "steps": 1, "cutouts": 2}
    job = studio.call("/jobs", {"generator": "vqgan_clip", "parameters": quick})
    wait_for(lambda: studio.call(f"/jobs/{job['id']}")["state"] == "succeeded", 200)


def test_without_a_network_one_sentence_says_what_to_do(new_person: NewPerson) -> None:
    page = new_person("/weights")
    biggan = card(page, "biggan-deep-128")
    biggan.get_by_role("button", name="Download").click()
    sentence = re.compile(
        r"'biggan-deep-128' cannot be downloaded, .*: Connection refused; fetch it elsewhere"
    )
    expect(biggan.get_by_text(sentence)).to_be_visible()


def test_a_download_is_followed_through_a_reload_and_stopped(new_person: NewPerson, site: Site) -> None:
    site.offers[f"{WIKIART}.yaml"] = Offer(b"model: {}")
    site.offers[f"{WIKIART}.ckpt"] = Offer(bytes(400_000_000), stalls_at=300_000_000)
    page = new_person("/weights")
    wikiart = card(page, "vqgan-wikiart-16384")
    wikiart.get_by_role("button", name="Download").click()
    expect(wikiart.get_by_text("300.0 MB of 1.6 GB")).to_be_visible()

    page.reload()
    expect(wikiart.get_by_text("300.0 MB of 1.6 GB")).to_be_visible()
    wikiart.get_by_role("button", name="Stop").click()
    expect(wikiart.get_by_text("300.0 MB are here")).to_be_visible()
