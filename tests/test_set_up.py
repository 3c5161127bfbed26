"""Runs the set-up script for real: it installs, starts, tells what hinders it, and ends all it started."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

import db
from jobs.executors import Executors
from jobs.records import ExecutorStatus
from settings import ROOT

SCRIPT = ROOT / "set_up_env.sh"
CORES = len(os.sched_getaffinity(0))
DEADLINE_SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """The environment that runs these tests has all that is wanted, so that no test below installs."""
    subprocess.run(
        [SCRIPT, "--install-only"], env={**os.environ, "VENV_DIR": sys.prefix}, check=True, timeout=280
    )


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Data, tmux server and pip's log of its own, on this machine's CPU."""
    sockets = tmp_path / "tmux"
    sockets.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "TMUX"} | {
        "VENV_DIR": sys.prefix,
        "STUDIO_DATA_DIR": str(tmp_path / "data"),
        "STUDIO_EXECUTOR__DEVICE": "cpu",
        "TMUX_TMPDIR": str(sockets),
        "PIP_LOG": str(tmp_path / "pip.log"),
    }
    yield environment
    for server in ("default", "studio"):
        subprocess.run(["tmux", "-L", server, "kill-server"], env=environment, capture_output=True)


@pytest.fixture
def port() -> int:
    with socket.create_server(("localhost", 0)) as free:
        return int(free.getsockname()[1])


def run(*arguments: str, env: Mapping[str, str], script: Path = SCRIPT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments], env=env, capture_output=True, text=True, timeout=280, stdin=subprocess.DEVNULL
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def page_answers(port: int) -> bool:
    try:
        with urlopen(f"http://localhost:{port}", timeout=5) as page:
            return bool(page.status == 200)
    except (URLError, ConnectionError):
        return False


def panes(environment: Mapping[str, str], what: str) -> list[str]:
    listed = ["tmux", "-L", "studio", "list-panes", "-t", "studio", "-F", what]
    return subprocess.check_output(listed, env=environment, text=True).splitlines()


def executors_alive(environment: Mapping[str, str]) -> list[ExecutorStatus]:
    engine = db.open_engine(f"sqlite:///{environment['STUDIO_DATA_DIR']}/studio.db")
    try:
        return Executors(engine, alive_seconds=30).alive()
    finally:
        engine.dispose()


@pytest.mark.parametrize("script", ["set_up_env.sh", "run_tests.sh", "run_executor.sh", ".ci/run"])
def test_a_script_is_sound_and_can_be_started(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)
    assert subprocess.run(["bash", "-n", ROOT / script], capture_output=True).stderr == b""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--port", "99999"], "--port takes a number from 1 to 65535, not '99999'."),
        (["--port", "http"], "--port takes a number from 1 to 65535, not 'http'."),
        (["--executors", "0"], "--executors takes a number from 1 to 999, not '0'."),
        (["--executors"], "--executors needs a value; see ./set_up_env.sh --help."),
        (["--turbo"], "There is no option '--turbo'; see ./set_up_env.sh --help."),
        (["--stop"], "No session of the studio is running."),
        (["--restart"], "No session of the studio is running."),
    ],
)
def test_wrong_arguments_are_answered_with_a_sentence(
    environment: dict[str, str], arguments: list[str], sentence: str
) -> None:
    finished = run(*arguments, env=environment)

    assert (finished.returncode, finished.stderr.strip()) == (1, sentence)


def test_more_executors_than_cores_are_refused(environment: dict[str, str], port: int) -> None:
    finished = run("--no-tmux", "--port", str(port), "--executors", str(CORES + 1), env=environment)

    assert finished.returncode == 1
    assert f"{CORES + 1} executors would fight over" in finished.stderr


def test_a_taken_port_is_named(environment: dict[str, str]) -> None:
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        finished = run("--no-tmux", "--port", str(port), env=environment)

    assert finished.returncode == 1
    assert finished.stderr.strip() == (
        f"Port {port} is taken by another program: stop that one, or choose another with --port."
    )


def test_an_address_of_another_machine_is_named(environment: dict[str, str], port: int) -> None:
    finished = run("--no-tmux", "--port", str(port), "--host", "192.0.2.1", "--public", env=environment)

    assert finished.returncode == 1
    assert f"The web app cannot listen on 192.0.2.1, port {port}" in finished.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_an_address_that_others_reach_needs_a_decision(
    environment: dict[str, str], port: int, host: str
) -> None:
    finished = run("--no-tmux", "--port", str(port), "--host", host, env=environment)

    assert finished.returncode == 1
    assert finished.stderr.startswith(f"The studio would be reached from other machines at {host}")
    assert "[auth] in .streamlit/secrets.toml" in finished.stderr
    assert "--public" in finished.stderr
    assert finished.stderr.count("\n") == 1


def test_a_setting_that_cannot_be_used_is_named(environment: dict[str, str]) -> None:
    finished = run("--no-tmux", env={**environment, "STUDIO_WEB__PORT": "http"})

    assert finished.returncode == 1
    assert finished.stderr.startswith("The setting 'web.port' cannot be used")
    assert finished.stderr.count("\n") == 1


def test_a_python_that_is_too_old_is_named(environment: dict[str, str], tmp_path: Path) -> None:
    old = tmp_path / "python3.9"
    old.write_text("#!/bin/sh\ncase $1 in --version) echo Python 3.9.2 ;; *) exit 1 ;; esac\n")
    old.chmod(0o755)

    finished = run(
        "--install-only", env={**environment, "PYTHON": str(old), "VENV_DIR": str(tmp_path / "venv")}
    )

    assert finished.returncode == 1
    assert "Python 3.11 or newer is needed" in finished.stderr
    assert "Python 3.9.2" in finished.stderr
    assert not (tmp_path / "venv").exists()


def test_only_changed_requirements_are_installed_again(environment: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    script = Path(shutil.copy(SCRIPT, project))
    environment["VENV_DIR"] = str(tmp_path / "venv")
    requirements, pip_log = project / "requirements.txt", Path(environment["PIP_LOG"])

    def pip_runs_with(content: str) -> bool:
        requirements.write_text(content)
        pip_log.unlink(missing_ok=True)
        finished = run("--install-only", env=environment, script=script)
        assert finished.returncode == 0, finished.stderr
        return pip_log.exists()

    assert pip_runs_with("# nothing\n")
    assert not pip_runs_with("# nothing\n")
    assert pip_runs_with("# nothing new\n")


def test_a_failed_installation_is_tried_again(environment: dict[str, str], tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    script = Path(shutil.copy(SCRIPT, project))
    environment["VENV_DIR"] = str(tmp_path / "venv")

    (project / "requirements.txt").write_text("./no-such-folder\n")

    for _ in range(2):
        assert run("--install-only", env=environment, script=script).returncode != 0


@contextmanager
def foreground(*arguments: str, env: Mapping[str, str], output: Path) -> Iterator[psutil.Popen]:
    """The script running with what it starts; whatever happens, nothing of it is left."""
    with output.open("w") as file:
        script = psutil.Popen(
            [SCRIPT, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
        )
    try:
        yield script
    finally:
        print(output.read_text())
        for process in [*script.children(recursive=True), script] if script.is_running() else []:
            process.kill()


@pytest.mark.e2e
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_the_foreground_studio_ends_all_that_it_started(
    environment: dict[str, str], port: int, end: signal.Signals, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with foreground("--no-tmux", "--port", str(port), env=environment, output=output) as script:
        wait_until(lambda: "The studio is open" in output.read_text(), "the studio is open")
        assert page_answers(port)
        wait_until(lambda: len(executors_alive(environment)) == 1, "the executor reports")
        executor = executors_alive(environment)[0]
        started = script.children(recursive=True)

        assert executor.device == "cpu"
        assert 1 <= executor.threads <= CORES
        assert executor.pid in {process.pid for process in started}
        assert not Path(environment["PIP_LOG"]).exists()

        script.send_signal(end)
        assert script.wait(DEADLINE_SECONDS) == 0
        assert psutil.wait_procs(started, timeout=5)[1] == []
        assert executors_alive(environment) == []


@pytest.mark.e2e
def test_when_the_web_app_dies_the_foreground_studio_ends_too(
    environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    with foreground("--no-tmux", "--port", str(port), env=environment, output=output) as script:
        wait_until(lambda: "The studio is open" in output.read_text(), "the studio is open")
        started = script.children(recursive=True)
        web = next(process for process in started if "webapp.py" in process.cmdline())
        assert not any("libtorch" in mapped.path for mapped in web.memory_maps())

        web.kill()

        assert script.wait(DEADLINE_SECONDS) == 1
        assert psutil.wait_procs(started, timeout=5)[1] == []
        assert "ended by itself, so the studio is closed" in output.read_text()


@pytest.mark.e2e
def test_without_tmux_the_studio_stays_in_the_foreground(
    environment: dict[str, str], port: int, tmp_path: Path
) -> None:
    programs, output = tmp_path / "programs", tmp_path / "output"
    programs.mkdir()
    for program in {*Path("/bin").iterdir(), *Path("/usr/bin").iterdir()}:
        if program.name not in {"tmux", "apt-get"} and not (programs / program.name).exists():
            (programs / program.name).symlink_to(program)
    without_tmux = {**environment, "PATH": str(programs)}

    with foreground("--port", str(port), env=without_tmux, output=output) as script:
        wait_until(lambda: "The studio is open" in output.read_text(), "the studio is open")
        assert "Without tmux the studio stays in the foreground" in output.read_text()

        script.terminate()
        assert script.wait(DEADLINE_SECONDS) == 0


@pytest.mark.e2e
def test_the_studio_lives_in_a_tmux_session(environment: dict[str, str], port: int) -> None:
    count = min(2, CORES)

    def monitor() -> str:
        captured = ["tmux", "-L", "studio", "capture-pane", "-p", "-t", f"studio:0.{count + 1}"]
        return subprocess.check_output(captured, env=environment, text=True)

    started = run("--port", str(port), "--executors", str(count), env=environment)
    assert started.returncode == 0, started.stdout + started.stderr
    assert f"The studio is open: http://localhost:{port}" in started.stdout
    assert page_answers(port)
    wait_until(lambda: len(executors_alive(environment)) == count, "every executor reports")
    executors = executors_alive(environment)
    processes = [psutil.Process(int(pid)) for pid in panes(environment, "#{pane_pid}")]
    everything = [*processes, *(child for process in processes for child in process.children(recursive=True))]

    assert panes(environment, "#{pane_title}") == [
        "web app",
        *(f"executor {number} on cpu" for number in range(1, count + 1)),
        "devices",
    ]
    assert sum(executor.threads for executor in executors) <= CORES
    wait_until(lambda: all(executor.id[:20] in monitor() for executor in executors), "the monitor shows them")

    again = run("--port", str(port), env=environment)
    assert again.returncode == 0
    assert f"The studio is already running: http://localhost:{port}" in again.stdout
    assert [int(pid) for pid in panes(environment, "#{pane_pid}")] == [process.pid for process in processes]

    stopped = run("--stop", env=environment)
    assert stopped.returncode == 0, stopped.stderr
    assert psutil.wait_procs(everything, timeout=5)[1] == []
    assert executors_alive(environment) == []
    assert run("--stop", env=environment).stderr.strip() == "No session of the studio is running."


@pytest.mark.e2e
def test_a_session_knows_secrets_that_no_command_line_shows(environment: dict[str, str], port: int) -> None:
    secrets = {
        "PGPASSWORD": "hush-1",
        "AWS_SECRET_ACCESS_KEY": "hush-2",
        "STUDIO_ARTIFACT_OPTIONS": "{key: hush-3}",
    }
    subprocess.run(["tmux", "new-session", "-d", "-s", "older"], env=environment, check=True)

    started = run("--port", str(port), "--executors", "1", env={**environment, **secrets})

    assert started.returncode == 0, started.stdout + started.stderr
    for pid in panes(environment, "#{pane_pid}"):
        known = psutil.Process(int(pid)).environ()
        assert {name: known.get(name) for name in secrets} == secrets
    shown = [word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ()]
    assert [word for word in shown if "hush-" in word] == []
    assert run("--stop", env=environment).returncode == 0


@pytest.mark.e2e
def test_a_restarted_session_runs_anew_at_the_same_address(environment: dict[str, str], port: int) -> None:
    def pids() -> list[str]:
        return panes(environment, "#{pane_pid}")

    started = run("--port", str(port), "--executors", "1", env=environment)
    assert started.returncode == 0, started.stdout + started.stderr
    wait_until(lambda: len(executors_alive(environment)) == 1, "the executor reports")
    (executor,), before = executors_alive(environment), pids()

    restarted = run("--restart", env=environment)

    assert restarted.returncode == 0, restarted.stdout + restarted.stderr
    assert f"The studio is open again: http://localhost:{port}" in restarted.stdout
    assert page_answers(port)
    assert set(pids()).isdisjoint(before)
    assert len(pids()) == len(before)
    wait_until(
        lambda: executor.id not in [e.id for e in executors_alive(environment)], "the old one has left"
    )
    wait_until(lambda: len(executors_alive(environment)) == 1, "the new executor reports")
    assert run("--stop", env=environment).returncode == 0
