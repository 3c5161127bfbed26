"""Every setting of the studio, typed: ``config.yaml``, then environment, then ``key=value`` arguments."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

ROOT = Path(__file__).resolve().parent
ENVIRONMENT_PREFIX = "STUDIO_"


class SettingsError(ValueError):
    """A setting is unknown or has a value of the wrong type."""


@dataclass
class WebSettings:
    host: str = "localhost"
    port: int = 8501


@dataclass
class QueueSettings:
    lease_seconds: float = 30.0
    max_attempts: int = 3
    max_waiting_per_person: int = 50


@dataclass
class ExecutorSettings:
    device: str = "auto"
    threads: int = 0
    poll_seconds: float = 0.2
    heartbeat_seconds: float = 5.0
    frame_seconds: float = 0.5
    checkpoint_seconds: float = 5.0
    animation_frames: int = 40


@dataclass
class Settings:
    data_dir: str = "data"
    database_url: str = "sqlite:///${data_dir}/studio.db"
    artifact_url: str = "${data_dir}/artifacts"
    weights_dir: str = "res/weights"
    web: WebSettings = field(default_factory=WebSettings)
    queue: QueueSettings = field(default_factory=QueueSettings)
    executor: ExecutorSettings = field(default_factory=ExecutorSettings)


def load_settings(
    arguments: Sequence[str] = (),
    environment: Mapping[str, str] = os.environ,
    file: Path = ROOT / "config.yaml",
) -> Settings:
    """Merge the defaults, ``file``, the environment and ``arguments`` (later ones win).

    ``STUDIO_QUEUE__LEASE_SECONDS=20`` in the environment and ``queue.lease_seconds=20`` among the
    arguments set the same value. Relative paths count from the project's root.

    Raises:
        SettingsError: a setting is unknown or has a value of the wrong type.
    """
    from_environment = [
        f"{name.removeprefix(ENVIRONMENT_PREFIX).lower().replace('__', '.')}={value}"
        for name, value in environment.items()
        if name.startswith(ENVIRONMENT_PREFIX)
    ]
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(Settings),
            OmegaConf.load(file),
            OmegaConf.from_dotlist(from_environment),
            OmegaConf.from_dotlist(list(arguments)),
        )
        _anchor_paths(cast(DictConfig, merged))
        return cast(Settings, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        sentence = str(error).splitlines()[0]
        raise SettingsError(f"A setting cannot be used: {sentence}") from error


def _anchor_paths(settings: DictConfig) -> None:
    settings.data_dir = str(ROOT / settings.data_dir)
    settings.weights_dir = str(ROOT / settings.weights_dir)
