"""The README claims nothing that is not there."""

import re
import subprocess

import pytest
from omegaconf import OmegaConf

from settings import ROOT, Settings

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_links_into_the_project_lead_somewhere(document: str) -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", (ROOT / document).read_text())
    inside = {target for target in targets if not target.startswith("http")}

    assert {target for target in inside if not (ROOT / target).exists()} == set()


def test_every_setting_is_explained() -> None:
    settings = OmegaConf.to_container(OmegaConf.structured(Settings))
    names = {
        f"{name}.{inner}" if isinstance(value, dict) else name
        for name, value in settings.items()
        for inner in (value if isinstance(value, dict) else [""])
    }

    assert names <= set(re.findall(r"`([a-z_.]+)`", README))


def test_every_option_of_the_set_up_is_explained() -> None:
    told = subprocess.run([ROOT / "set_up_env.sh", "--help"], capture_output=True, text=True, check=True)

    options = set(re.findall(r"^  (--[a-z-]+)", told.stdout, re.MULTILINE)) - {"--help"}
    assert {option for option in options if f"`{option}" not in README} == set()


def test_the_folders_are_all_in_the_contributors_table() -> None:
    listed = set(re.findall(r"`([a-z]+)/`", (ROOT / "CONTRIBUTING.md").read_text()))
    folders = {file.parent.name for file in ROOT.glob("*/__init__.py")}

    assert folders <= listed
