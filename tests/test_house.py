"""Keeps the two wings apart: which folder may import which, and what must stay out of the office."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from settings import ROOT
from web.look import PAGES

OFFICE = {"web", "jobs", "db"}
STUDIO = {"generators", "guidance", "networks", "weights"}
HALL = OFFICE | STUDIO | {"settings", "logs", "store"}
ENTRY_SCRIPTS = {"webapp", "job_executor", "generate", "monitor"}
EVERYTHING = HALL | ENTRY_SCRIPTS | {"sandbox", "benchmarks"}

MAY_IMPORT = {
    "settings": set(),
    "logs": set(),
    "store": {"settings"},
    "db": {"store", "settings"},
    "jobs": {"db", "store", "settings", "logs"},
    "web": {"jobs", "db", "store", "settings", "logs"},
    "weights": {"networks", "settings"},
    "networks": {"settings"},
    "guidance": {"networks", "weights", "settings"},
    "generators": {"guidance", "networks", "weights", "settings"},
    "sandbox": STUDIO | {"settings"},
    "webapp": HALL,
    "job_executor": HALL,
    "generate": HALL | {"job_executor"},
    "monitor": HALL,
    "benchmarks": EVERYTHING | {"tests"},
    "tests": EVERYTHING,
}
TENSORS = {"torch", "torchvision", "transformers", "kornia", "safetensors"}
PAGES_AND_TABLES = {"streamlit", "fastapi", "starlette", "sqlalchemy", "alembic", "fsspec"}
LOADED_BY_NAME = {"authlib", "s3fs"}  # by Streamlit to sign in, fsspec
DISTRIBUTIONS = {module: canonicalize_name(names[0]) for module, names in packages_distributions().items()}
WRITTEN = {"data", "runs", "artifacts", "res"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "core", "base"}


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def python_files() -> list[Path]:
    """All of the project's, none of an environment's or of what programs wrote."""
    rooms = [path for path in ROOT.iterdir() if path.name[0] != "." and path.name not in WRITTEN]
    return sorted(file for room in rooms for file in ([room] if room.is_file() else room.rglob("*.py")))


def imported_names(file: Path) -> Iterator[str]:
    """The first part of every absolute import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(file.read_text(), str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


FILES = [file for file in python_files() if file.suffix == ".py"]
ROOMS = {room_of(file) for file in FILES}


def files_in(rooms: set[str]) -> list[Path]:
    return [file for file in FILES if room_of(file) in rooms]


def pinned(requirements: str) -> set[str]:
    """Names of the packages in a file of requirements, each with exactly one version."""
    lines = (line.partition("#")[0].strip() for line in (ROOT / requirements).read_text().splitlines())
    return {
        canonicalize_name(line.partition("==")[0].partition("[")[0])
        for line in lines
        if line and not line.startswith("-r") and "==" in line
    }


def breaches(files: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported_names(file)
        if name in forbidden
    ]


def test_every_room_has_its_place() -> None:
    assert ROOMS - set(MAY_IMPORT) == set(), "a new folder or entry script needs a line in MAY_IMPORT"


@pytest.mark.parametrize("room", sorted(ROOMS))
def test_imports_only_go_down(room: str) -> None:
    above = set(MAY_IMPORT) - MAY_IMPORT[room] - {room}

    assert breaches(files_in({room}), above) == []


def test_the_pages_know_of_the_database_only_that_it_can_fail() -> None:
    taken = {
        f"{node.module}.{alias.name}"
        for file in files_in({"web"})
        for node in ast.walk(ast.parse(file.read_text(), str(file)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "db"
        for alias in node.names
    }

    assert taken <= {"db.DatabaseError"}
    assert breaches(files_in({"web"}), {"sqlalchemy", "alembic"}) == []


def test_the_office_knows_no_tensors() -> None:
    assert breaches(files_in(OFFICE | {"settings"}), TENSORS) == []


def test_the_studio_knows_no_pages_and_no_tables() -> None:
    assert breaches(files_in(STUDIO | {"sandbox"}), PAGES_AND_TABLES) == []


def test_what_is_imported_is_pinned() -> None:
    own = set(MAY_IMPORT)
    running = pinned("requirements.txt")
    testing = running | pinned("requirements-dev.txt")

    for room in ROOMS:
        foreign = {name for file in files_in({room}) for name in imported_names(file)} - own
        distributions = {DISTRIBUTIONS[name] for name in foreign if name not in sys.stdlib_module_names}
        assert distributions <= (testing if room in {"tests", "benchmarks"} else running), room


def test_what_is_pinned_is_imported() -> None:
    imported = {DISTRIBUTIONS.get(name) for file in FILES for name in imported_names(file)}

    assert pinned("requirements.txt") - imported <= LOADED_BY_NAME


def test_names_say_what_is_inside() -> None:
    parts = {part for file in FILES for part in file.relative_to(ROOT).with_suffix("").parts}

    assert not parts & VAGUE


def test_the_web_process_never_loads_torch() -> None:
    modules = ["webapp", *(module_name(file) for file in files_in(OFFICE) if not is_script(file))]
    program = (
        f"import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        f"loaded = {TENSORS!r} & set(sys.modules)\n"
        f"sys.exit(f'loaded: {{loaded}}' if loaded else 0)"
    )

    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert finished.returncode == 0, finished.stderr


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def is_script(file: Path) -> bool:
    """What streamlit or alembic run, not import."""
    name = str(file.relative_to(ROOT))
    return name in {"web/main.py", *(f"web/{page}" for page in PAGES)} or name.startswith("db/migrations/")
