"""Databases from the terminal: ``python -m db migrate [URL]``, ``python -m db copy SOURCE TARGET``."""

import argparse
import sys
from collections.abc import Sequence

from sqlalchemy import Engine
from tqdm import tqdm

from db import DatabaseError, copying, migrate, open_engine
from db.files import File, SamePlace, copy_files, names, refuse_same_place
from settings import SettingsError, load_settings
from store import ArtifactStore, StoreError

_ABOUT_COPY = """\
Brings all jobs, votes, presets and members of one database to another, SQLite or PostgreSQL, and the files.

SOURCE and TARGET are SQLAlchemy URLs, such as sqlite:///data/studio.db and
postgresql+psycopg://studio@host/studio; the stores are folders or fsspec URLs. The store that is artifact_url
in the settings is opened with their artifact_options; another one with what the environment says, such as
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_ENDPOINT_URL.

The source stays as it is and may be in use: it is copied as it stood when the command began. For a move, stop
the executors and the web app first, so that nothing is added behind the copy's back, then start them on the
target. A job that runs while it is copied is copied as running: on the target its lease expires, and it goes
back into the queue. What is left in the target of an interrupted copy is compared and completed, so run the
command again. At the end all rows and the SHA-256 of all files are compared; the command ends with 1 where
something differs."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        if asked.command == "migrate":
            migrate(asked.url or load_settings().database_url)
            return 0
        return _copy(asked)
    except StoreError as error:
        print(f"{error} Then run the command again: it goes on where it was.", file=sys.stderr)
        return 1
    except (DatabaseError, SettingsError, SamePlace, copying.CopyRefused) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m db", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    readied = commands.add_parser("migrate", help="create or update a database's tables")
    readied.add_argument("url", nargs="?", help="default: database_url in the settings")
    copied = commands.add_parser(
        "copy",
        help="copy a studio to another database",
        description=_ABOUT_COPY,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    copied.add_argument("source", metavar="SOURCE", help="the database to read")
    copied.add_argument(
        "target", metavar="TARGET", help="the database to fill, which gets tables where it has none"
    )
    copied.add_argument("--artifacts-from", metavar="STORE", help="the source's artifact_url")
    copied.add_argument("--artifacts-to", metavar="STORE", help="the target's artifact_url")
    return parser


def _copy(asked: argparse.Namespace) -> int:
    if (asked.artifacts_from is None) != (asked.artifacts_to is None):
        print("--artifacts-from and --artifacts-to go together: give both, or none.", file=sys.stderr)
        return 2
    stores = [_open_store(url) for url in (asked.artifacts_from, asked.artifacts_to) if url is not None]
    source, target = (open_engine(url, answer_seconds=None) for url in (asked.source, asked.target))
    try:
        copying.prepare(source, target)
        if stores:
            refuse_same_place(*stores)
        tables = _copy_rows(source, target)
        files = _copy_files(*stores) if stores else []
        _print(tables, files)
        troubles = [*_differing(tables, files), *(_missing(target, files) if stores else [])]
        if not troubles:
            copying.complete(target)
    finally:
        source.dispose()
        target.dispose()
    for trouble in troubles:
        print(trouble, file=sys.stderr)
    return 1 if troubles else 0


def _open_store(url: str) -> ArtifactStore:
    settings = load_settings()
    is_own = url.rstrip("/") == settings.artifact_url.rstrip("/")
    return ArtifactStore(url, settings.artifact_options if is_own else {})


def _copy_rows(source: Engine, target: Engine) -> list[copying.Copied]:
    with tqdm(total=copying.count_rows(source), desc="rows", unit="") as bar:
        return copying.copy_rows(source, target, bar.update)


def _copy_files(source: ArtifactStore, target: ArtifactStore) -> list[File]:
    wanted = names(source)
    with tqdm(total=len(wanted), desc="files", unit="") as bar:
        return copy_files(source, target, wanted, bar.update)


def _print(tables: Sequence[copying.Copied], files: Sequence[File]) -> None:
    print(f"{'':14} {'source':>12} {'target':>12}  SHA-256")
    for table in tables:
        same = table.source.digest[:16] if table.is_whole else "differs"
        print(f"{table.table:14} {table.source.rows:12,} {table.target.rows:12,}  {same}")
    whole = [file for file in files if file.sha256 is not None]
    held = sum(file.is_whole for file in whole)
    size = sum(file.size for file in whole)
    same = "each the same" if held == len(whole) else "differs"
    print(f"{'files':14} {len(whole):12,} {held:12,}  {same}, {size / 10**6:,.1f} MB")


def _differing(tables: Sequence[copying.Copied], files: Sequence[File]) -> list[str]:
    names = [table.table for table in tables if not table.is_whole]
    names += [file.name for file in files if not file.is_whole]
    if not names:
        return []
    return [
        f"The target differs in {', '.join(names[:5])}{' and more' * (len(names) > 5)}: "
        "see that nothing else writes it, and run the command again."
    ]


def _missing(target: Engine, files: Sequence[File]) -> list[str]:
    there = {file.name for file in files if file.sha256 is not None}
    missing = sorted(copying.named_files(target) - there)
    if not missing:
        return []
    return [
        f"{len(missing)} files that results name are not in the source's store, such as {missing[0]}: "
        "where they were deleted meanwhile, run the command again."
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
