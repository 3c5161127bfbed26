"""A picture from a terminal: ``python generate.py "a red circle on a blue background" --steps 40``.

The job goes into the same queue as the pages' jobs; where no executor is alive, this process draws it itself.
It leaves with 2 when what was asked cannot be done, with 1 when it failed, with 130 when it was cancelled.
"""

import argparse
import getpass
import logging
import re
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import EnumType
from pathlib import Path
from typing import Any, get_origin

from pydantic.fields import FieldInfo
from sqlalchemy import Engine
from tqdm import tqdm

import db
import logs
from generators import registry
from generators.contract import GenerationSpec
from jobs import exports as exporting
from jobs.batch import MAX_PICTURES, of_seeds
from jobs.executors import Executors
from jobs.exports import Export
from jobs.gallery import Sample
from jobs.moderation import PromptRefused, moderation
from jobs.presets import Preset, PresetRefused, Presets, manner_of
from jobs.queue import JobNotFound, Queue, TooManyWaiting
from jobs.recipe import NoRecipe, recipe_in
from jobs.records import Job, JobState
from jobs.uploads import UploadError, UploadNotFound, Uploads, is_picture
from settings import Settings, SettingsError, load_settings
from store import ArtifactStore

POLL_SECONDS = 0.2
SETTING = re.compile(r"[a-z_.]+=")
EXPORTS = {Path(export).suffix.removeprefix("."): export for export in Export}
CANNOT_BE_DONE = (
    *(SettingsError, registry.SpecError, TooManyWaiting),
    *(NoRecipe, PresetRefused, PromptRefused, UploadError, UploadNotFound),
)
EXIT_STATUS = {JobState.SUCCEEDED: 0, JobState.FAILED: 1, JobState.CANCELLED: 130}


def main(arguments: Sequence[str]) -> int:
    """Submit, follow, save; returns the exit status."""
    try:
        model = _model_named_in(arguments)
        asked = _parser(_generator_named_in(arguments, model), model).parse_intermixed_args(arguments)
        _without_prompt(asked)
        exports, count = _exports(asked.formats), _count(asked.count)
        settings = load_settings(asked.settings)
        logs.start(settings.log_format, logging.WARNING)
        desk = open_desk(settings)
        spec = _spec(desk, asked, model)
        if asked.save_preset is not None:
            _save_preset(desk, asked, spec)
        asked.save_dir.mkdir(parents=True, exist_ok=True)
        batch = of_seeds(spec.model_dump(mode="json"), count)
        moderation(desk.settings.moderation).check(batch[0])
        jobs = desk.queue.enqueue_all(
            asked.generator, batch, submitter=_submitter(), needs_memory=registry.least_memory(spec)
        )
        return _draw_all(desk, jobs, asked.save_dir, exports)
    except CANNOT_BE_DONE as error:
        print(error, file=sys.stderr)
        return 2
    except (db.DatabaseError, JobNotFound, OSError) as error:
        print(error, file=sys.stderr)
        return 1


@dataclass(frozen=True)
class Desk:
    """What the terminal works with."""

    settings: Settings
    engine: Engine
    queue: Queue
    executors: Executors
    store: ArtifactStore


def open_desk(settings: Settings) -> Desk:
    """Ready the database and open queue and store. Raises DatabaseError, StoreError."""
    db.migrate(settings.database_url)
    engine = db.open_engine(settings.database_url)
    queue = Queue(engine, **vars(settings.queue))
    executors = Executors(engine, alive_seconds=settings.queue.lease_seconds)
    return Desk(
        settings, engine, queue, executors, ArtifactStore(settings.artifact_url, settings.artifact_options)
    )


class Order:
    """A job from its submission to its end."""

    def __init__(self, desk: Desk, job_id: str, threads: ThreadPoolExecutor) -> None:
        self._desk = desk
        self._job_id = job_id
        self._threads = threads
        self._own_work: Future[None] | None = None
        self._stop = threading.Event()

    def follow(self) -> Job:
        """Show the progress until the job has ended. Ctrl-C cancels it, a second one leaves at once."""
        try:
            return self._watch()
        except KeyboardInterrupt:
            self._desk.queue.cancel(self._job_id)
            print("\nCancelling; Ctrl-C again leaves at once.", file=sys.stderr)
        try:
            return self._watch()
        finally:
            self._stop.set()

    def _watch(self) -> Job:
        with tqdm(unit="step", bar_format="{desc} {percentage:3.0f}%|{bar}| {n}/{total} {postfix}") as bar:
            while True:
                job = self._desk.queue.get(self._job_id)
                self._show(bar, job)
                if job.state.is_final:
                    return job
                self._see_to_it(job)
                time.sleep(POLL_SECONDS)

    def _show(self, bar: Any, job: Job) -> None:
        if job.state is JobState.QUEUED:
            bar.set_description_str(f"waiting, {self._desk.queue.position(job.id).ahead} ahead")
        else:
            bar.set_description_str(str(job.state))
        if job.progress is not None:
            bar.total, bar.n = job.progress.steps, job.progress.step
            newest = job.progress.history[-1]
            bar.set_postfix({name: f"{value:.3f}" for name, value in newest.items() if name != "step"})
        bar.refresh()

    def _see_to_it(self, job: Job) -> None:
        """Draw the job here when nobody else will."""
        if self._own_work is not None:
            if self._own_work.done():
                self._own_work.result()
        elif job.state is JobState.QUEUED and not self._desk.executors.alive():
            tqdm.write("No executor is alive, so this process draws the picture itself.", file=sys.stderr)
            self._own_work = self._threads.submit(self._work)

    def _work(self) -> None:
        import job_executor  # brings torch, which only watching does not need

        executor = job_executor.open_executor(self._desk.settings, self._desk.engine)
        executor.run(self._stop, job_id=self._job_id)


def _draw_all(desk: Desk, jobs: Sequence[Job], folder: Path, exports: Sequence[Export]) -> int:
    """Follow and save one after the other; where one is cancelled, so are the rest."""
    status = 0
    with ThreadPoolExecutor(max_workers=1) as threads:
        for number, job in enumerate(jobs):
            ended = Order(desk, job.id, threads).follow()
            status = report(ended, desk.store, folder, exports) or status
            if ended.state is JobState.CANCELLED:
                for waiting in jobs[number + 1 :]:
                    desk.queue.cancel(waiting.id)
                break
    return status


def report(job: Job, store: ArtifactStore, folder: Path, exports: Sequence[Export]) -> int:
    """Save what a succeeded job left, or say why there is nothing; returns the exit status."""
    if job.result is None:
        print(job.error or "The job was cancelled.", file=sys.stderr)
        return EXIT_STATUS[job.state]
    stem = folder / f"{_slug(job.prompt)}-{job.id[-6:]}"
    sample = Sample(
        generator=job.generator, parameters=job.spec, numbers=job.result.numbers, seconds=job.result.seconds
    )
    for export in exports:
        file = stem.with_suffix(Path(export).suffix)
        file.write_bytes(exporting.read(store, job, export))
        print(file)
    stem.with_suffix(".json").write_text(sample.model_dump_json(indent=2) + "\n")
    return EXIT_STATUS[job.state]


def _model_named_in(arguments: Sequence[str]) -> Mapping[str, Any] | None:
    """The recipe in the file after ``--like``, if there is one. Raises NoRecipe, SpecError."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--like", type=Path)
    file = first.parse_known_args(arguments)[0].like
    try:
        return None if file is None else recipe_in(file.read_bytes())
    except OSError as error:
        raise registry.SpecError(f"The file {file} cannot be read: {error.strerror}.") from error


def _generator_named_in(arguments: Sequence[str], model: Mapping[str, Any] | None) -> registry.GeneratorEntry:
    """The flags depend on the generator, so its own flag is read first."""
    usual = next(iter(registry.GENERATORS)) if model is None else model["generator"]
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--generator", default=usual)
    return registry.entry(first.parse_known_args(arguments)[0].generator)


def _parser(generator: registry.GeneratorEntry, model: Mapping[str, Any] | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=generator.summary, allow_abbrev=False)
    about_prompt = generator.spec.model_fields["prompt"].description
    parser.add_argument("prompt", nargs=None if model is None else "?", help=about_prompt)
    parser.add_argument("settings", nargs="*", metavar="key=value", help="settings, as in config.yaml")
    parser.add_argument("--generator", default=generator.name, choices=list(registry.GENERATORS))
    parser.add_argument("--like", metavar="FILE", help="take what made this file where no flag says else")
    parser.add_argument("--preset", metavar="NAME", help="take a preset's parameters where no flag says else")
    parser.add_argument("--save-preset", metavar="NAME", help="keep the parameters as a preset of yours")
    parser.add_argument("--count", default="1", help=f"how many pictures, 1 to {MAX_PICTURES}")
    parser.add_argument("--save-dir", type=Path, default=Path(), help="where the files go")
    parser.add_argument("--formats", default="png,gif", help=f"what to save, of {','.join(EXPORTS)}")
    parameters = parser.add_argument_group(f"parameters of {generator.title}")
    for name, field in generator.spec.model_fields.items():
        if name != "prompt":
            parameters.add_argument(_flag(name), dest=f"spec_{name}", help=_help(field), **_choices(field))
    return parser


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _help(field: FieldInfo) -> str:
    extra = _extra(field)
    unit = f" In {extra['unit']}." if "unit" in extra else ""
    default = "" if field.is_required() or field.default in (None, ()) else f" Default: {field.default}."
    return f"{field.description}{unit}{default}".replace("%", "%%")


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _choices(field: FieldInfo) -> dict[str, Any]:
    if is_picture(field):
        several = get_origin(field.annotation) is tuple
        return {"metavar": "FILE", "type": Path, "action": "append" if several else "store"}
    if isinstance(field.annotation, EnumType):
        return {"choices": [choice.value for choice in field.annotation]}
    if field.annotation is bool:
        return {"action": argparse.BooleanOptionalAction}
    return {"metavar": getattr(field.annotation, "__name__", "value").upper()}


def _without_prompt(asked: argparse.Namespace) -> None:
    """Where the prompt may be missing, what stands in its place may be the first setting."""
    if asked.prompt is not None and asked.like is not None and SETTING.match(asked.prompt):
        asked.settings.insert(0, asked.prompt)
        asked.prompt = None


def _spec(desk: Desk, asked: argparse.Namespace, model: Mapping[str, Any] | None) -> GenerationSpec:
    """All that is asked: flags win over the preset, the preset over the model.

    Raises:
        SpecError: it cannot be drawn, or there is no such preset.
        UploadError, UploadNotFound: a picture that it refers to cannot be used, or is not here.
    """
    given = {name.removeprefix("spec_"): v for name, v in vars(asked).items() if name.startswith("spec_")}
    uploads = Uploads(desk.store)
    entry = registry.entry(asked.generator)
    flags = _hand_in({n: value for n, value in given.items() if value is not None}, entry, uploads)
    if asked.prompt is not None:
        flags["prompt"] = asked.prompt
    usual = {} if model is None else model["spec"]
    weights = flags.get("weights", usual.get("weights"))
    preset = {} if asked.preset is None else _preset(desk, asked.generator, weights, asked.preset)
    weights_dir = Path(desk.settings.weights_dir)
    spec = registry.parse_spec(asked.generator, {**usual, **preset, **flags}, weights_dir)
    uploads.require(spec)
    return spec


def _preset(desk: Desk, generator: str, weights: str | None, name: str) -> Mapping[str, Any]:
    """The parameters of a preset of the weights, or of one's own. Raises SpecError."""
    usable = registry.generators(Path(desk.settings.weights_dir))[generator].weights
    chosen = next((entry for entry in usable if weights in (None, entry.name)), None)
    there = {} if chosen is None else {**_own_presets(desk, generator, chosen.name), **chosen.presets}
    if name not in there:
        known = f"choose one of {', '.join(there)}" if there else "--save-preset makes one"
        raise registry.SpecError(f"There is no preset '{name}' for these weights: {known}.")
    return there[name]


def _own_presets(desk: Desk, generator: str, weights: str) -> dict[str, Mapping[str, Any]]:
    own = Presets(desk.engine).of(_submitter())
    return {p.name: p.parameters for p in own if (p.generator, p.weights) == (generator, weights)}


def _save_preset(desk: Desk, asked: argparse.Namespace, spec: GenerationSpec) -> None:
    preset = Preset(asked.save_preset, asked.generator, spec.weights, manner_of(spec))
    Presets(desk.engine).save(_submitter(), preset)


def _exports(formats: str) -> list[Export]:
    """The files that ``png,gif`` and the like name. Raises SpecError."""
    names = [name.strip().lower() for name in formats.split(",")]
    for name in names:
        if name not in EXPORTS:
            raise registry.SpecError(f"There is no format '{name}'; choose among {', '.join(EXPORTS)}.")
    return [EXPORTS[name] for name in dict.fromkeys(names)]


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= MAX_PICTURES):
        raise registry.SpecError(f"--count takes a number from 1 to {MAX_PICTURES}, not '{text}'.")
    return int(text)


def _hand_in(
    parameters: Mapping[str, Any], generator: registry.GeneratorEntry, uploads: Uploads
) -> dict[str, Any]:
    """``parameters`` with a reference for every picture file, which is kept in the store.

    Raises:
        UploadError: a file cannot be read, or is no picture.
        StoreError: the store cannot be written.
    """

    def handed_in(value: Any, *, mask: bool) -> Any:
        match value:
            case Path():
                return _upload(value, uploads, mask=mask)
            case list():
                return [handed_in(file, mask=mask) for file in value]
        return value

    fields = generator.spec.model_fields
    return {
        name: handed_in(value, mask=bool(_extra(fields[name]).get("mask")))
        for name, value in parameters.items()
    }


def _upload(file: Path, uploads: Uploads, *, mask: bool) -> str:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise UploadError(f"The picture {file} cannot be read ({error.strerror}): check its path.") from error
    try:
        return uploads.add(data, mask=mask).reference
    except UploadError as error:
        raise UploadError(f"{file}: {error}") from error


def _submitter() -> str:
    return f"terminal:{getpass.getuser()}"


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60] or "picture"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
