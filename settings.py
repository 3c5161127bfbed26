"""Every setting of the studio, typed: ``config.yaml``, then environment, then ``key=value`` arguments."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Literal, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

ROOT = Path(__file__).resolve().parent
ENVIRONMENT_PREFIX = "STUDIO_"

_SECRET = re.compile("key|secret|token|pass|credential", re.IGNORECASE)


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be used; the text names it."""


class Visitors(Enum):
    """What those may who have not signed in."""

    look = "look"
    draw = "draw"


@dataclass
class WebSettings:
    host: str = "localhost"
    port: int = 8501
    public: bool = False
    admins: list[str] = field(default_factory=list)
    visitors_may: Visitors | None = None
    manage_weights: bool | None = None
    artifact_links: Literal["proxied", "signed"] = "proxied"
    trusted_proxies: list[str] = field(default_factory=list)


@dataclass
class LimitSettings:
    requests_per_minute: float = 600
    submissions_per_minute: float = 30
    uploads_per_hour: float = 600
    failures_per_minute: float = 10
    max_waiting_per_address: int = 100


@dataclass
class ModerationSettings:
    words_file: str | None = None
    hook: str | None = None


@dataclass
class QueueSettings:
    lease_seconds: float = 30.0
    max_attempts: int = 3
    max_waiting_per_person: int = 50
    keep_weights_seconds: float = 20.0


@dataclass
class ExecutorSettings:
    device: str = "auto"
    threads: int = 0
    poll_seconds: float = 5.0
    heartbeat_seconds: float = 5.0
    frame_seconds: float = 0.5
    checkpoint_seconds: float = 5.0
    animation_frames: int = 40
    alive_file: str | None = None


@dataclass
class RetentionSettings:
    keep_days: float = 0


@dataclass
class Settings:
    data_dir: str = "data"
    database_url: str = "sqlite:///${data_dir}/studio.db"
    artifact_url: str = "${data_dir}/artifacts"
    artifact_options: dict[str, Any] = field(default_factory=dict, repr=False)
    weights_dir: str = "res/weights"
    log_format: str = "text"
    web: WebSettings = field(default_factory=WebSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    moderation: ModerationSettings = field(default_factory=ModerationSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)
    retention: RetentionSettings = field(default_factory=RetentionSettings)


BOUNDS: dict[str, tuple[float, float]] = {
    "web.port": (1, 65535),
    "queue.lease_seconds": (0.1, 86400),
    "queue.max_attempts": (1, 1000),
    "queue.max_waiting_per_person": (1, 1_000_000),
    "queue.keep_weights_seconds": (0, 86400),
    "limits.requests_per_minute": (1, 1_000_000),
    "limits.submissions_per_minute": (1, 1_000_000),
    "limits.uploads_per_hour": (1, 1_000_000),
    "limits.failures_per_minute": (1, 1_000_000),
    "limits.max_waiting_per_address": (1, 1_000_000),
    "executor.threads": (0, 1024),
    "executor.poll_seconds": (0.01, 60),
    "executor.heartbeat_seconds": (0.01, 3600),
    "executor.frame_seconds": (0, 3600),
    "executor.checkpoint_seconds": (0, 3600),
    "executor.animation_frames": (2, 1000),
    "retention.keep_days": (0, 36500),
}
"""The lowest and highest value of every setting that is a number."""

CHOICES: dict[str, tuple[str, ...]] = {"log_format": ("text", "json")}
"""The values of every setting that is one of a few words."""


def load_settings(
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    file: Path = ROOT / "config.yaml",
) -> Settings:
    """Merge the defaults, ``file``, the environment and ``arguments`` (later ones win).

    ``STUDIO_QUEUE__LEASE_SECONDS=20`` in the environment and ``queue.lease_seconds=20`` among the
    arguments set the same value. Relative paths count from the project's root.

    Raises:
        SettingsError: a setting is unknown or has a value of the wrong type or not among
            ``BOUNDS`` or ``CHOICES``, or the file cannot be read.
    """
    from_environment = [
        f"{name.removeprefix(ENVIRONMENT_PREFIX).lower().replace('__', '.')}={value}"
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    ]
    layers = [_read(file), *(_parse(assignment) for assignment in (*from_environment, *arguments))]
    try:
        merged = cast(DictConfig, OmegaConf.merge(OmegaConf.structured(Settings), *layers))
        _check_bounds(merged)
        _check_choices(merged)
        _anchor_paths(merged)
        return cast(Settings, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        setting = f"The setting '{error.full_key}'" if error.full_key else "A setting"
        is_secret = str(error.full_key).startswith("artifact_options.")
        reason = "its value cannot be read" if is_secret else str(error).splitlines()[0]
        raise SettingsError(f"{setting} cannot be used: {reason}.") from error


def is_secret(name: str) -> bool:
    """Whether the value of an option of that name is never to be shown."""
    return _SECRET.search(name) is not None


def secrets_in(options: Mapping[str, Any]) -> list[str]:
    """The values, at any depth, that are never to be shown; the longest first, for one may hold another."""
    return sorted(_secrets_in(options), key=len, reverse=True)


def without_password(url: str) -> str:
    """The address without who asks, and by which password or key."""
    return re.sub(r"//[^/]*@", "//", url)


def _secrets_in(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _secrets_in(value)
        elif value and is_secret(str(name)):
            yield str(value)


def _read(file: Path) -> DictConfig:
    try:
        content = OmegaConf.load(file)
    except (OSError, YAMLError) as error:
        reason = " ".join(str(error).split())
        raise SettingsError(f"The settings in {file} cannot be read: {reason}.") from error
    if not isinstance(content, DictConfig):
        raise SettingsError(f"The settings in {file} must be names with values, not a list.")
    return content


def _parse(assignment: str) -> DictConfig:
    if "=" not in assignment:
        raise SettingsError(f"'{assignment}' sets nothing: write name=value, for example web.port=8501.")
    try:
        return OmegaConf.from_dotlist([assignment])
    except (YAMLError, OmegaConfBaseException) as error:
        name = assignment.partition("=")[0]
        raise SettingsError(f"The value of '{name}' cannot be read as YAML.") from error


def _check_bounds(settings: DictConfig) -> None:
    for name, (lowest, highest) in BOUNDS.items():
        value = OmegaConf.select(settings, name)
        if not lowest <= value <= highest:
            raise SettingsError(f"The setting '{name}' goes from {lowest} to {highest}, but it was {value}.")


def _check_choices(settings: DictConfig) -> None:
    for name, choices in CHOICES.items():
        value = OmegaConf.select(settings, name)
        if value not in choices:
            raise SettingsError(f"The setting '{name}' is {' or '.join(choices)}, but it was '{value}'.")


def _anchor_paths(settings: DictConfig) -> None:
    settings.data_dir = str(ROOT / Path(settings.data_dir).expanduser())
    settings.weights_dir = str(ROOT / Path(settings.weights_dir).expanduser())
