from collections.abc import Mapping
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from settings import BOUNDS, ROOT, Settings, SettingsError, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("queue:\n  lease_seconds: 7.0\n  max_attempts: 4\nweb:\n  port: 9000\n")
    return path


def test_the_file_wins_over_the_defaults(file: Path) -> None:
    settings = load_settings(environment={}, file=file)

    assert settings.queue.lease_seconds == 7.0
    assert settings.executor == Settings().executor


def test_the_environment_wins_over_the_file(file: Path) -> None:
    settings = load_settings(environment={"STUDIO_QUEUE__LEASE_SECONDS": "8"}, file=file)

    assert settings.queue.lease_seconds == 8.0
    assert settings.queue.max_attempts == 4


def test_an_argument_wins_over_the_environment(file: Path) -> None:
    settings = load_settings(
        ["queue.lease_seconds=9"], {"STUDIO_QUEUE__LEASE_SECONDS": "8", "STUDIO_WEB__PORT": "9001"}, file
    )

    assert settings.queue.lease_seconds == 9.0
    assert settings.web.port == 9001


def test_other_peoples_variables_are_left_alone(file: Path) -> None:
    settings = load_settings(environment={"QUEUE__LEASE_SECONDS": "8", "PATH": "/bin"}, file=file)

    assert settings.queue.lease_seconds == 7.0


def test_the_shipped_file_names_every_setting_with_the_value_it_has_without_a_file() -> None:
    shipped = OmegaConf.to_container(OmegaConf.load(ROOT / "config.yaml"))

    assert shipped == OmegaConf.to_container(OmegaConf.structured(Settings))


def test_relative_folders_count_from_the_root_and_absolute_ones_stand(file: Path, tmp_path: Path) -> None:
    settings = load_settings(environment={"STUDIO_DATA_DIR": str(tmp_path / "elsewhere")}, file=file)

    assert settings.weights_dir == str(ROOT / "res/weights")
    assert settings.data_dir == str(tmp_path / "elsewhere")


def test_the_database_and_the_artifacts_follow_the_data_folder(file: Path, tmp_path: Path) -> None:
    settings = load_settings([f"data_dir={tmp_path}"], {}, file)

    assert settings.database_url == f"sqlite:///{tmp_path}/studio.db"
    assert settings.artifact_url == f"{tmp_path}/artifacts"


@pytest.mark.parametrize(
    ("arguments", "environment", "named"),
    [
        (["queue.leese_seconds=9"], {}, "queue.leese_seconds"),
        (["queue.lease_seconds=soon"], {}, "queue.lease_seconds"),
        (["executor.threads=1.5"], {}, "executor.threads"),
        ([], {"STUDIO_WEB__PORT": "http"}, "web.port"),
        ([], {"STUDIO_WEBPORT": "80"}, "webport"),
        (["queue=5"], {}, "QueueSettings"),
        (["log_format=xml"], {}, "text or json"),
        (["data_dir="], {}, "data_dir"),
        (["queue.lease_seconds"], {}, "queue.lease_seconds"),
        (["data_dir=${nowhere}"], {}, "nowhere"),
        (["web.port=[1"], {}, "web.port"),
        ([], {"STUDIO_WEB__PORT": "[1"}, "web.port"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_in_one_sentence(
    file: Path, arguments: list[str], environment: Mapping[str, str], named: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load_settings(arguments, environment, file)

    sentence = str(refusal.value)
    assert named in sentence
    assert "\n" not in sentence


def test_the_options_of_the_artifact_store_are_a_mapping_from_anywhere(file: Path) -> None:
    settings = load_settings(
        ["artifact_options.client_kwargs.region_name=eu"],
        {"STUDIO_ARTIFACT_OPTIONS__SECRET": "hush-hush", "STUDIO_ARTIFACT_OPTIONS__KEY": "'0123'"},
        file,
    )

    assert settings.artifact_options == {
        "client_kwargs": {"region_name": "eu"},
        "secret": "hush-hush",
        "key": "0123",
    }
    assert "hush-hush" not in repr(settings)


@pytest.mark.parametrize("value", ["[hush-hush", "${hush-hush}", "${hush", "a: hush-hush: b"])
def test_a_secret_that_cannot_be_read_is_not_told(file: Path, value: str) -> None:
    with pytest.raises(SettingsError, match="artifact_options.secret") as refusal:
        load_settings([f"artifact_options.secret={value}"], {}, file)

    assert "hush" not in str(refusal.value)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_number_is_kept_at_its_bounds_and_refused_beyond_them(file: Path, name: str) -> None:
    lowest, highest = BOUNDS[name]

    for value in (lowest, highest):
        assert (
            OmegaConf.select(OmegaConf.structured(load_settings([f"{name}={value}"], {}, file)), name)
            == value
        )
    for value in (lowest - 1, highest + 1):
        with pytest.raises(SettingsError, match=f"'{name}' goes from {lowest} to {highest}, but it was"):
            load_settings([f"{name}={value}"], {}, file)


def test_every_number_has_bounds() -> None:
    settings = OmegaConf.structured(Settings())
    numbers = {
        f"{section}.{name}"
        for section in ("web", "limits", "queue", "executor", "retention")
        for name, value in settings[section].items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }

    assert numbers == set(BOUNDS)


@pytest.mark.parametrize(
    "text", ["queue: [", "queue:\n  lease_seconds: soon\n", "nonsense: 1\n", "- 1\n", "5", "a: 1\na: 2\n"]
)
def test_a_broken_file_is_told_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)

    with pytest.raises(SettingsError) as refusal:
        load_settings(environment={}, file=path)

    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="elsewhere.yaml"):
        load_settings(environment={}, file=tmp_path / "elsewhere.yaml")
