"""Housekeeping from a terminal: ``python -m jobs VERB [options] [key=value settings]``, see ``--help``.

It leaves with 1 when results lack their files or something cannot be reached, with 2 when the command or a
setting cannot be read.
"""

import argparse
import getpass
import re
import sys
from collections.abc import Sequence
from datetime import timedelta

import db
from jobs import retention
from jobs.people import Members
from jobs.queue import JobNotFound, NotFailed, Queue, TooManyWaiting
from jobs.sweep import Found, sweep
from jobs.tokens import SCOPES, TokenNotFound, TokenRefused, Tokens
from settings import Settings, SettingsError, load_settings
from store import ArtifactStore, Stored, StoreError

ROW = "{:<34}{:>8}{:>14}"
_MOST_DAYS = 36_500
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)*=")
REFUSALS = (
    *(db.DatabaseError, StoreError, JobNotFound, NotFailed, TooManyWaiting),
    *(TokenRefused, TokenNotFound),
)


def main(arguments: Sequence[str]) -> int:
    """Do what is asked; returns the exit status."""
    settings = [argument for argument in arguments if _SETTING.match(argument)]
    asked = _parser().parse_args([argument for argument in arguments if argument not in settings])
    try:
        status: int = asked.run(load_settings(settings), asked)
        return status
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except REFUSALS as error:
        print(error, file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m jobs", description="Jobs and their files. Settings may be given as key=value."
    )
    commands = parser.add_subparsers(required=True, metavar="command")

    sweeping = commands.add_parser("sweep", help="remove files that nobody names; tell what is missing")
    sweeping.add_argument("--dry-run", action="store_true", help="remove nothing, only tell")
    keeping = commands.add_parser("retention", help="tell which results are older than retention.keep_days")
    keeping.add_argument("--apply", action="store_true", help="delete them")
    pausing = commands.add_parser("pause", help="start no job until the queue is resumed")
    resuming = commands.add_parser("resume", help="start jobs again")
    asking = commands.add_parser("again", help="put a failed job back into the queue")
    asking.add_argument("job", help="its id")
    making = commands.add_parser("token", help="make a secret for a program that acts as an admin")
    making.add_argument("name", help="what it is for")
    making.add_argument("--scope", action="append", choices=SCOPES, required=True, help="what it may; repeat")
    making.add_argument("--days", type=_days, help="it ends after so many; default: never")
    revoking = commands.add_parser("revoke", help="end one of those tokens")
    revoking.add_argument("token", help="its id")
    for command, verb in {
        **{sweeping: _sweep, keeping: _retention, pausing: _pause, resuming: _resume},
        **{asking: _again, making: _token, revoking: _revoke},
    }.items():
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


def _days(text: str) -> float:
    days = float(text)
    if not 0 < days <= _MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_MOST_DAYS}, was {text}")
    return days


def _token(settings: Settings, asked: argparse.Namespace) -> int:
    engine = db.open_engine(settings.database_url)
    lasting = None if asked.days is None else timedelta(days=asked.days)
    person = Members(engine).let_in(getpass.getuser())
    token, secret = Tokens(engine).make(person, asked.name, asked.scope, lasting)
    print(f"{secret}\nis shown this once: keep it. To end it: python -m jobs revoke {token.id}")
    return 0


def _revoke(settings: Settings, asked: argparse.Namespace) -> int:
    engine = db.open_engine(settings.database_url)
    Tokens(engine).revoke(Members(engine).let_in(getpass.getuser()), asked.token)
    print(f"The token {asked.token} is ended.")
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
