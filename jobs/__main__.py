"""Housekeeping from a terminal: ``python -m jobs sweep|retention|pause|resume|again [key=value settings]``.

It leaves with 1 when results lack their files or something cannot be reached, with 2 when the command or a
setting cannot be read.
"""

import argparse
import getpass
import sys
from collections.abc import Sequence

import db
from jobs import retention
from jobs.artifacts import ArtifactStore, Stored, StoreError
from jobs.queue import JobNotFound, NotFailed, Queue, TooManyWaiting
from jobs.sweep import Found, sweep
from settings import Settings, SettingsError, load_settings

ROW = "{:<34}{:>8}{:>14}"


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit status."""
    asked = _parser().parse_args(arguments)
    try:
        status: int = asked.run(load_settings(asked.settings), asked)
        return status
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except (db.DatabaseError, StoreError, JobNotFound, NotFailed, TooManyWaiting) as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m jobs", description="Jobs and their files.")
    commands = parser.add_subparsers(required=True, metavar="command")

    sweeping = commands.add_parser("sweep", help="remove files that nobody names; tell what is missing")
    sweeping.add_argument("--dry-run", action="store_true", help="remove nothing, only tell")
    keeping = commands.add_parser("retention", help="tell which results are older than retention.keep_days")
    keeping.add_argument("--apply", action="store_true", help="delete them")
    pausing = commands.add_parser("pause", help="start no job until the queue is resumed")
    resuming = commands.add_parser("resume", help="start jobs again")
    asking = commands.add_parser("again", help="put a failed job back into the queue")
    asking.add_argument("job", help="its id")
    verbs = {sweeping: _sweep, keeping: _retention, pausing: _pause, resuming: _resume, asking: _again}
    for command, verb in verbs.items():
        command.add_argument("settings", nargs="*", metavar="key=value", help="settings, as in config.yaml")
        command.set_defaults(run=verb)
    return parser


def _sweep(settings: Settings, asked: argparse.Namespace) -> int:
    store = ArtifactStore(settings.artifact_url, settings.artifact_options)
    found = sweep(db.open_engine(settings.database_url), store, dry_run=asked.dry_run)
    print(_table(found, "would remove" if asked.dry_run else "removed"))
    return 1 if found.missing else 0


def _retention(settings: Settings, asked: argparse.Namespace) -> int:
    print(retention.command(settings, apply=asked.apply))
    return 0


def _pause(settings: Settings, _asked: argparse.Namespace) -> int:
    _queue(settings).pause(getpass.getuser())
    print("The queue is paused: running jobs go on, and none starts until python -m jobs resume.")
    return 0


def _resume(settings: Settings, _asked: argparse.Namespace) -> int:
    _queue(settings).resume(getpass.getuser())
    print("The queue starts jobs again.")
    return 0


def _again(settings: Settings, asked: argparse.Namespace) -> int:
    job = _queue(settings).again(asked.job)
    print(f"The job {job.id} waits again.")
    return 0


def _queue(settings: Settings) -> Queue:
    return Queue(db.open_engine(settings.database_url), **vars(settings.queue))


def _table(found: Found, verb: str) -> str:
    every = [file for files in found.orphans.values() for file in files]
    rows = [ROW.format(verb, "files", "bytes")]
    rows += [_row(kind, files) for kind, files in found.orphans.items()]
    rows += [_row("all", every), ROW.format("missing, though results name it", len(found.missing), "")]
    return "\n".join([*rows, *(f"  {name}" for name in found.missing)])


def _row(name: str, files: Sequence[Stored]) -> str:
    return ROW.format(name, len(files), sum(file.size for file in files))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
