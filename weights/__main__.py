"""The weights of the studio from a terminal: ``python -m weights list|download|verify|import|remove``.

They lie in the folder that the setting ``weights_dir`` names. It leaves with 1 when something cannot be done,
with 2 when the command or a setting cannot be read, with 130 when it was interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tqdm import tqdm

from settings import SettingsError, load_settings
from weights import catalogue
from weights.catalogue import WeightsEntry
from weights.errors import WeightsError
from weights.files import is_installed, verify
from weights.store import Store

ROW = "{:<27}{:>9}{:>9}  {:<10} {}"


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        store = Store(Path(load_settings().weights_dir), catalogue.entries())
        for name in getattr(asked, "names", ()):
            store.entry(name)
        asked.run(store, asked)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except WeightsError as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or 'A file'} cannot be used: {error.strerror}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. What has arrived is kept: the same command goes on from there.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m weights", description="The weights of the studio.")
    commands = parser.add_subparsers(required=True, metavar="command")

    listing = commands.add_parser("list", help="all sets: size, memory, use, whether installed")
    listing.set_defaults(run=_list)

    download = commands.add_parser("download", help="install sets; goes on where it was interrupted")
    download.add_argument("names", nargs="+", metavar="NAME")
    download.set_defaults(run=_download)

    verifying = commands.add_parser("verify", help="read installed sets and compare their checksums")
    verifying.add_argument("names", nargs="*", metavar="NAME", help="default: all that are installed")
    verifying.set_defaults(run=_verify)

    importing = commands.add_parser("import", help="install files at hand, without a network")
    importing.add_argument("files", nargs="+", type=Path, metavar="FILE")
    importing.add_argument("--as", dest="set", metavar="NAME", help="the set that they belong to")
    importing.set_defaults(run=_import)

    removing = commands.add_parser("remove", help="delete sets; files that other sets need stay")
    removing.add_argument("names", nargs="+", metavar="NAME")
    removing.set_defaults(run=_remove)
    return parser


def _list(store: Store, _: argparse.Namespace) -> None:
    rows = [ROW.format("name", "size", "memory", "installed", "draws with")]
    for entry in store.entries:
        installed = "yes" if is_installed(entry, store.folder) else "no"
        size, memory = _readable(entry.space), f"{entry.memory_gb:g} GB"
        rows.append(ROW.format(entry.name, size, memory, installed, _use(entry, store)))
    print("\n".join(rows))


def _download(store: Store, asked: argparse.Namespace) -> None:
    for name in asked.names:
        with _Bars() as bars:
            store.download(name, bars.show)
        print(f"The weights '{name}' are installed.")


def _verify(store: Store, asked: argparse.Namespace) -> None:
    names = asked.names or [entry.name for entry in store.installed()]
    damaged = []
    for name in names:
        try:
            verify(store.entry(name), store.folder)
            print(f"The weights '{name}' are whole.")
        except WeightsError as error:
            damaged.append(str(error))
    if damaged:
        raise WeightsError("\n".join(damaged))


def _import(store: Store, asked: argparse.Namespace) -> None:
    before = store.installed()
    for path in store.import_files(asked.files, asked.set):
        print(f"{path} is installed.")
    for entry in store.installed():
        if entry not in before:
            print(f"The weights '{entry.name}' are installed.")


def _remove(store: Store, asked: argparse.Namespace) -> None:
    for name in asked.names:
        for path in store.remove(name):
            print(f"{path} is deleted.")


def _use(entry: WeightsEntry, store: Store) -> str:
    if entry.generators:
        return ", ".join(entry.generators)
    users = [other.name for other in store.entries if entry.name in other.parts]
    return f"part of {users[0]}{' and others' if len(users) > 1 else ''}" if users else "no generator yet"


def _readable(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


class _Bars:
    """One progress bar a file."""

    def __init__(self) -> None:
        self._bar: tqdm[NoReturn] | None = None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def show(self, path: str, arrived: int, total: int | None) -> None:
        if self._bar is None or self._bar.desc != f"{path}: ":
            self.__exit__()
            self._bar = tqdm(desc=path, unit="B", unit_scale=True, initial=arrived)
        self._bar.total = total
        self._bar.update(arrived - self._bar.n)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
