"""What deploys the studio is read by the tools that it is written for, and by the studio itself."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
import yaml

import db
from settings import ENVIRONMENT_PREFIX, ROOT, load_settings
from tests.jobs.fast_executor import open_queue
from tests.jobs.processes import WebServer, quick_settings

DEPLOY = ROOT / "deploy"
GUIDE = ROOT / "docs" / "many-machines.md"
COMPOSE = ROOT / "docker-compose.yml"
KUBERNETES = DEPLOY / "kubernetes"
OVERLAYS = ("base", "scaled", "scaled-hpa", "gpu")
FOR_KUSTOMIZE = {"kustomization.yaml", "secret-names.yaml"}
MANIFESTS = [
    file
    for overlay in ("base", "scaled", "scaled-hpa")  # those of "gpu" are patches
    for file in sorted((KUBERNETES / overlay).glob("*.yaml"))
    if file.name not in FOR_KUSTOMIZE
]
SYSTEMD = DEPLOY / "systemd"
UNITS = sorted(path.name for path in SYSTEMD.iterdir() if path.suffix in {".service", ".target", ".timer"})
SERVICES = [unit for unit in UNITS if unit.endswith(".service")]
MOST_EXPOSED = 30
"""What a service may reach on systemd's scale from 0 to 100; one without any protection has 96."""

FROM_SYSTEMD_254_ON = ("RestartSteps", "RestartMaxDelaySec")
OF_ITS_OWN_KIND = {"ScaledObject", "TriggerAuthentication"}
"""Kinds that KEDA brings along: Kubernetes has no schema of them."""

LISTS = {
    "STUDIO_WEB__ADMINS": "[ann@example.com, https://idp.example 7]",
    "STUDIO_WEB__TRUSTED_PROXIES": "[172.16.0.0/12]",
}

YAML_STYLE = """
extends: default
rules:
  line-length: {max: 120}
  document-start: disable
  comments: {min-spaces-from-content: 1}
"""
TEXTS = [
    *(ROOT / name for name in ("Dockerfile", "docker-compose.yml", ".env.example")),
    *sorted(path for path in DEPLOY.rglob("*") if path.is_file()),
    GUIDE,
]


def run(*command: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **more)


def checked(*command: str | Path, **more: Any) -> str:
    """What the tool printed; what it complains of fails the test."""
    finished = run(*command, **more)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout + finished.stderr


def tool(name: str) -> Path:
    """A program of the virtual environment that runs the tests."""
    return Path(sys.executable).with_name(name)


def filled_in(example: Path) -> str:
    """An example of an environment file with something for every blank."""
    return re.sub(r"^([A-Z_0-9]+)=$", r"\1=filled-in", example.read_text(), flags=re.MULTILINE)


# --- the image ------------------------------------------------------------------------------------------


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    checked(tool("hadolint"), ROOT / "Dockerfile")


def test_the_image_has_all_that_the_entry_scripts_import_and_no_tests(image: Path) -> None:
    program = (
        "import sys; sys.path.insert(0, '.'); import webapp, job_executor, db.migration, weights.__main__"
    )

    checked(sys.executable, "-I", "-c", program, cwd=image)
    assert sorted(image.rglob("test*")) == []
    assert not (image / ".git").exists()


def test_the_image_can_fetch_weights_before_the_rest_of_the_code_is_in_it(
    image: Path, tmp_path: Path
) -> None:
    before, *_ = (ROOT / "Dockerfile").read_text().partition("\nARG WEIGHTS")
    _, _, stage = before.rpartition("\nFROM ")
    early = tmp_path / "early"
    early.mkdir()
    for name in re.findall(r"[\w.]+", " ".join(re.findall(r"^COPY (?!--)(.+) \S+$", stage, re.MULTILINE))):
        copy = shutil.copytree if (image / name).is_dir() else shutil.copy
        copy(image / name, early / name)

    told = checked(sys.executable, "-P", "-m", "weights", "list", cwd=early, env={"PYTHONPATH": str(early)})
    assert "vqgan-imagenet-16384" in told


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The files that .dockerignore lets into the image, where the project is not otherwise."""
    folder = tmp_path / "image"
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines, "what is not named stays out"
    for name in (line[1:] for line in lines if line.startswith("!")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, target)
    return folder


# --- docker compose -------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", [COMPOSE, DEPLOY / "compose.sign-in.yml"], ids=lambda file: file.name)
def test_a_compose_file_keeps_to_the_specification(file: Path) -> None:
    checked(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", file)


def test_compose_lint_finds_nothing_worse_than_images_without_a_digest() -> None:
    checked(tool("compose-lint"), "check", "--fail-on", "high", COMPOSE)


def test_what_a_compose_file_refers_to_is_there() -> None:
    described = yaml.safe_load(COMPOSE.read_text())
    services = described["services"]

    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        assert set(service["networks"]) <= set(described["networks"]), name
        sources = {mount.partition(":")[0] for mount in service.get("volumes", ())}
        files = {source for source in sources if source.startswith(".")}
        assert sources - files <= set(described["volumes"]), name
        assert all((ROOT / file).is_file() for file in files), name


def test_docker_compose_accepts_it_filled_in_and_names_what_is_missing(tmp_path: Path) -> None:
    if run("docker", "compose", "version").returncode != 0:
        pytest.skip("docker has no compose here")
    environment = {
        name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "DOCKER_CONFIG"}
    }
    blank, filled = tmp_path / "blank", tmp_path / "filled"
    blank.touch()
    filled.write_text(filled_in(ROOT / ".env.example"))
    command = ["docker", "compose", "--file", str(COMPOSE), "--profile", "*", "--env-file"]

    checked(*command, str(filled), "config", "--quiet", env=environment)
    refused = run(*command, str(blank), "config", "--quiet", env=environment)
    assert refused.returncode != 0
    assert "see .env.example" in refused.stderr


def test_compose_hands_on_who_is_an_admin_and_which_proxies_are_trusted() -> None:
    environment = yaml.safe_load(COMPOSE.read_text())["services"]["web"]["environment"]
    handed = {name: filled(value) for name, value in environment.items() if name in LISTS}
    chosen = {name: filled(value, **LISTS) for name, value in environment.items() if name in LISTS}

    web = load_settings(environment=handed).web
    assert (web.admins, web.trusted_proxies) == ([], [])
    web = load_settings(environment=chosen).web
    assert (web.admins, web.trusted_proxies) == (
        ["ann@example.com", "https://idp.example 7"],
        ["172.16.0.0/12"],
    )


def filled(value: str, **given: str) -> str:
    """What compose makes of ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-(.*?)\}", lambda found: given.get(found[1], found[2]), value)


def test_the_example_names_all_that_compose_asks_for() -> None:
    asked = set(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)", COMPOSE.read_text()))
    offered = set(re.findall(r"^([A-Z_0-9]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))

    assert asked == offered


# --- Kubernetes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", MANIFESTS, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_every_manifest_keeps_to_its_schema(file: Path) -> None:
    validate(file)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_what_kustomize_builds_keeps_to_the_schemas_and_refers_to_what_is_there(
    overlay: str, tmp_path: Path
) -> None:
    built = tmp_path / "built.yaml"
    built.write_text(build(overlay, tmp_path))
    validate(built)

    resources = list(yaml.safe_load_all(built.read_text()))
    there = {(resource["kind"], resource["metadata"]["name"]) for resource in resources}
    named = {name for resource in resources for name in references(resource)}
    assert named - there == {("Secret", "sign-in")}, "which is optional"
    assert ("ConfigMap", "settings") not in there, "its name carries its content's hash"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_container_has_more_rights_than_it_needs(overlay: str, tmp_path: Path) -> None:
    for resource in yaml.safe_load_all(build(overlay, tmp_path)):
        for container in containers(resource):
            rights = container["securityContext"]
            assert rights["readOnlyRootFilesystem"], container["name"]
            assert not rights["allowPrivilegeEscalation"], container["name"]
            assert rights["capabilities"] == {"drop": ["ALL"]}, container["name"]
            assert {"requests", "limits"} == set(container["resources"]), container["name"]
        if pod := pod_of(resource):
            assert pod["securityContext"]["runAsNonRoot"]
            assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            assert not pod["automountServiceAccountToken"]


def test_executors_on_gpus_have_one_each_and_keep_what_the_others_have(tmp_path: Path) -> None:
    resources = list(yaml.safe_load_all(build("gpu", tmp_path)))
    executor = next(c for resource in resources for c in containers(resource) if c["name"] == "executor")
    scaling = next(resource for resource in resources if resource["kind"] == "ScaledObject")

    assert executor["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {"name": "STUDIO_EXECUTOR__DEVICE", "value": "cuda"} in executor["env"]
    assert {"name": "STUDIO_EXECUTOR__ALIVE_FILE", "value": "/tmp/executor-alive"} in executor["env"]
    assert "livenessProbe" in executor
    assert scaling["spec"]["minReplicaCount"] == 0


def test_executors_are_scaled_by_the_number_of_jobs_that_wait_or_run(tmp_path: Path) -> None:
    settings = load_settings(quick_settings(tmp_path), environment={})
    db.migrate(settings.database_url)
    queue = open_queue(settings)
    for seed in range(4):
        queue.enqueue("numpy", {"prompt": "noise", "weights": "none", "seed": seed}, submitter="ann")
    cancelled = queue.enqueue("numpy", {"prompt": "noise", "weights": "none", "seed": 9}, submitter="ann")
    queue.cancel(cancelled.id)
    queue.claim("an executor")

    scaling, *_ = yaml.safe_load_all((KUBERNETES / "scaled" / "executors.yaml").read_text())
    (trigger,) = scaling["spec"]["triggers"]
    with db.reading(db.open_engine(settings.database_url)) as connection:
        assert connection.exec_driver_sql(trigger["metadata"]["query"]).scalar_one() == 4
    assert all(isinstance(value, str) for value in trigger["metadata"].values()), "KEDA reads texts only"


def test_both_ways_of_scaling_count_the_same_jobs() -> None:
    keda, *_ = yaml.safe_load_all((KUBERNETES / "scaled" / "executors.yaml").read_text())
    hpa = yaml.safe_load((KUBERNETES / "scaled-hpa" / "executors.yaml").read_text())
    (rule,) = re.findall(r'seriesQuery: (\w+)\{state=~"([a-z|]+)"\}', GUIDE.read_text())
    query, external = keda["spec"]["triggers"][0]["metadata"], hpa["spec"]["metrics"][0]["external"]
    (states,) = external["metric"]["selector"]["matchExpressions"]

    counted = set(re.findall(r"'(\w+)'", query["query"]))
    assert (states["key"], states["operator"], set(states["values"])) == ("state", "In", counted)
    assert (rule[0], set(rule[1].split("|"))) == (external["metric"]["name"], counted)
    assert external["target"] == {"type": "AverageValue", "averageValue": query["targetQueryValue"]}


def build(overlay: str, tmp_path: Path) -> str:
    """What kustomize makes of an overlay, with the secrets' examples filled in."""
    folder = tmp_path / "kubernetes"
    if not folder.exists():
        shutil.copytree(KUBERNETES, folder, ignore=shutil.ignore_patterns("*.env"))
        shutil.copy(KUBERNETES / "base" / "settings.env", folder / "base")
        for example in folder.rglob("*.env.example"):
            example.with_suffix("").write_text(filled_in(example))
    for command in (["kustomize", "build"], ["kubectl", "kustomize"]):
        if shutil.which(command[0]):
            return checked(*command, folder / overlay)
    pytest.skip("neither kustomize nor kubectl is here")


def validate(manifest: Path) -> None:
    """Against the schemas that Kubernetes publishes, which the validator brings along."""
    told = checked(tool("kubernetes-validate"), "--strict", manifest)
    unknown = set(re.findall(r"Couldn't find schema for kind (\w+)", told))
    assert unknown <= OF_ITS_OWN_KIND
    assert "passed" in told or unknown


def pod_of(resource: Mapping[str, Any]) -> dict[str, Any] | None:
    pod: dict[str, Any] | None = resource.get("spec", {}).get("template", {}).get("spec")
    return pod


def containers(resource: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    pod = pod_of(resource) or {}
    yield from (*pod.get("initContainers", ()), *pod.get("containers", ()))


def references(resource: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Kinds and names of what a resource needs beside it."""
    for container in containers(resource):
        for source in container.get("envFrom", ()):
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in source:
                    yield kind, source[field]["name"]
        for variable in container.get("env", ()):
            if "valueFrom" in variable:
                yield "Secret", variable["valueFrom"]["secretKeyRef"]["name"]
    for volume in (pod_of(resource) or {}).get("volumes", ()):
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
    if "scaleTargetRef" in resource.get("spec", {}):
        yield "Deployment", resource["spec"]["scaleTargetRef"]["name"]
    if resource["kind"] == "TriggerAuthentication":
        yield from (("Secret", source["name"]) for source in resource["spec"]["secretTargetRef"])


# --- systemd --------------------------------------------------------------------------------------------


def test_systemd_finds_nothing_wrong_with_the_units(units: Path) -> None:
    told = checked("systemd-analyze", "verify", *(units / instance_of(unit) for unit in UNITS))

    known = re.compile(rf"Unknown key.*'({'|'.join(FROM_SYSTEMD_254_ON)})'")
    assert [line for line in told.splitlines() if not known.search(line)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_is_kept_from_what_it_does_not_need(service: str, units: Path) -> None:
    threshold = f"--threshold={MOST_EXPOSED}"

    checked("systemd-analyze", "security", "--offline=true", threshold, units / instance_of(service))


def test_the_services_user_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()

    checked("systemd-sysusers", f"--root={tmp_path}", SYSTEMD / "studio.sysusers")
    assert "/var/lib/studio" in (tmp_path / "etc" / "passwd").read_text()


@pytest.mark.parametrize("service", ["studio-web.service", "studio-executor@.service"])
def test_a_service_with_a_setting_that_cannot_be_used_is_not_started_again(service: str, units: Path) -> None:
    unit = dict(re.findall(r"^(\w+)=(.*)$", (units / service).read_text(), re.MULTILINE))

    finished = run(*unit["ExecStart"].split(), cwd=ROOT, env={**os.environ, "STUDIO_WEB__PORT": "http"})

    assert finished.returncode == int(unit["RestartPreventExitStatus"]), finished.stderr
    assert finished.stderr.startswith("The setting 'web.port' cannot be used")


@pytest.mark.e2e
def test_the_web_server_believes_no_proxy_that_it_was_not_told_of(tmp_path: Path) -> None:
    server = WebServer(
        quick_settings(tmp_path, "web.public=true", "limits.failures_per_minute=3"), tmp_path / "web.log"
    )

    def guess_a_token(number: int) -> int:
        headers = {"Authorization": "Bearer sk_guess", "X-Forwarded-For": f"192.0.2.{number}:4711"}
        try:
            with urlopen(Request(f"{server.url}/api/queue", headers=headers), timeout=30) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code

    try:
        server.start()
        server.wait_until_it_answers()
        assert {guess_a_token(number) for number in range(9)} == {401, 429}
    finally:
        server.kill()


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units as if the studio were installed where this checkout is."""
    folder = tmp_path / "units"
    folder.mkdir()
    for unit in UNITS:
        text = (SYSTEMD / unit).read_text().replace("/opt/studio/.venv/bin/python", sys.executable)
        (folder / unit).write_text(text.replace("/opt/studio", str(ROOT)))
    return folder


def instance_of(unit: str) -> str:
    return unit.replace("@.", "@1.")


# --- the guide ------------------------------------------------------------------------------------------


def test_what_the_guide_shows_can_be_read_by_the_programs_it_is_for() -> None:
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)

    assert {language for language, _ in blocks} == {"bash", "yaml"}
    for language, block in blocks:
        if language == "bash":
            checked("bash", "-n", "-c", block)
        else:
            assert isinstance(yaml.safe_load(block), dict)


def test_the_guide_leads_to_what_is_there() -> None:
    text = GUIDE.read_text()
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)}
    targets = re.findall(r"\]\(([^)]+)\)", text)
    scripts = set(re.findall(r"\./(\w+\.sh)", text))
    options = set(re.findall(r"\./set_up_env\.sh (--[a-z-]+)", text))

    assert {target[1:] for target in targets if target.startswith("#")} == headings
    assert all((GUIDE.parent / target.partition("#")[0]).exists() for target in targets)
    assert all((ROOT / script).is_file() for script in scripts)
    assert all(f"  {option} " in checked(ROOT / "set_up_env.sh", "--help") for option in options)


# --- all of them ----------------------------------------------------------------------------------------


def test_yamllint_finds_nothing() -> None:
    checked(tool("yamllint"), "--strict", "--config-data", YAML_STYLE, COMPOSE, DEPLOY)


def test_every_setting_that_is_named_is_one() -> None:
    named = set(settings_named(TEXTS))

    assert {name for name in named if not is_setting(name)} == set()
    assert {"STUDIO_DATABASE_URL", "STUDIO_ARTIFACT_URL"} <= named


def test_every_value_of_a_setting_can_be_used() -> None:
    given = {
        name: value.strip("\"'")
        for text in TEXTS
        for name, value in re.findall(
            r"^\s*#?(STUDIO_[A-Z_]+)[=:] ?([^\s$#{]+)", text.read_text(), re.MULTILINE
        )
    }

    load_settings(environment=given)
    assert len(given) >= 4


def test_no_file_carries_a_secret() -> None:
    assigned = re.compile(
        r"^\s*(?:PGPASSWORD|[A-Z_]*(?:PASSWORD|SECRET|ACCESS_KEY)[A-Z_]*)[=:] *(.+)$", re.MULTILINE
    )
    values = {value for text in TEXTS for value in assigned.findall(text.read_text())}

    assert {value for value in values if not value.startswith("${")} == set()


def settings_named(texts: Iterable[Path]) -> Iterator[str]:
    for text in texts:
        yield from re.findall(rf"\b{ENVIRONMENT_PREFIX}[A-Z_]+\b", text.read_text())


def is_setting(name: str) -> bool:
    path = name.removeprefix(ENVIRONMENT_PREFIX).lower().split("__")
    value: Any = load_settings(environment={})
    for part in path:
        if not hasattr(value, part):
            return False
        value = getattr(value, part)
    return True
