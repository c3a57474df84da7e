"""What is written about orderkit outside its code and could drift from it: dependencies, locks, image, stack, CI."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from ruamel.yaml import YAML

from orderkit.settings import PREFIX, Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DECLARED = {canonicalize_name(Requirement(text).name): Requirement(text) for text in PROJECT["dependencies"]}
COMPOSE = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
WORKFLOW = YAML(typ="safe").load((ROOT / ".github/workflows/ci.yml").read_text())

FOUND_BY_NAME = {
    "argon2-cffi": "libpass looks for it",
    "httptools": "uvicorn looks for it",
    "psycopg": "SQLAlchemy looks for it",
    "python-multipart": "FastAPI looks for it to read the form of /token",
    "tzdata": "zoneinfo looks for it where the system has no time zones",
    "uvloop": "uvicorn looks for it",
}
"""Dependencies that no line of orderkit imports."""

RUN_TIME_EXTRAS = ("charts", "otel", "print", "sentry")

OF_NAMESPACES = {
    "opentelemetry.context": "opentelemetry-sdk",  # the API, which the SDK brings in its own version
    "opentelemetry.trace": "opentelemetry-sdk",
    "opentelemetry.sdk": "opentelemetry-sdk",
    "opentelemetry.exporter.otlp.proto.http": "opentelemetry-exporter-otlp-proto-http",
    "opentelemetry.instrumentation.aiohttp_client": "opentelemetry-instrumentation-aiohttp-client",
}
"""Packages whose top module belongs to many."""


def locked(name: str) -> dict[str, str]:
    """Version by canonical name, from one of the locks."""
    pins = re.findall(r"^([\w.-]+)==([^\s;\\]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    return {canonicalize_name(package): version for package, version in pins}


def imported_packages() -> set[str]:
    """Distributions that the modules of orderkit and its migrations import, anywhere in a file."""
    modules: set[str] = set()
    for path in [*(ROOT / "orderkit").rglob("*.py"), *(ROOT / "migrations").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules |= {name.name for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                # `from opentelemetry import context` names no package of its own.
                modules |= {f"{node.module}.{one.name}" for one in node.names}
    distributions = packages_distributions()
    shared = {name: package for name in modules for start, package in OF_NAMESPACES.items() if name.startswith(start)}
    tops = {name.partition(".")[0] for name in modules - shared.keys()}
    foreign = tops - set(sys.stdlib_module_names) - {"orderkit"}
    return {canonicalize_name(distributions.get(module, [module])[0]) for module in foreign} | set(shared.values())


def test_every_import_is_a_declared_dependency_and_every_dependency_is_used() -> None:
    extras = PROJECT["optional-dependencies"]
    optional = {canonicalize_name(Requirement(one).name) for name in RUN_TIME_EXTRAS for one in extras[name]}
    assert imported_packages() | FOUND_BY_NAME.keys() == set(DECLARED) | optional


def test_what_an_extra_needs_is_tested() -> None:
    extras = PROJECT["optional-dependencies"]
    assert {one for name in RUN_TIME_EXTRAS for one in extras[name]} <= set(extras["test"])


@pytest.mark.parametrize("name", ["runtime.txt", "ci.txt"])
def test_lock_satisfies_the_declared_dependencies(name: str) -> None:
    pins = locked(name)
    assert [str(one) for key, one in DECLARED.items() if pins.get(key, "0") not in one.specifier] == []


def test_tests_run_on_the_versions_that_the_image_gets() -> None:
    runtime, ci = locked("runtime.txt"), locked("ci.txt")
    assert {name: ci.get(name) for name in runtime} == runtime


def test_the_image_is_built_with_the_build_tools_of_the_lock() -> None:
    tools = dict(re.findall(r"\b(build|hatchling)==(\S+)", DOCKERFILE))
    assert tools == {name: locked("ci.txt")[name] for name in ("build", "hatchling")}


@pytest.mark.parametrize("name", ["runtime.txt", "ci.txt"])
def test_lock_pins_by_hash_and_names_no_index(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text()
    entries = re.split(r"\n(?=[\w])", re.sub(r"(?m)^\s*#.*\n", "", text).strip())
    assert [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert re.findall(r"(?m)://|^--|^-[a-z] ", text) == []


def test_the_wheel_is_told_to_bundle_what_the_package_reads() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    for source, target in build["wheel"]["force-include"].items():
        assert source in build["sdist"]["only-include"], "the wheel is built from the sdist"
        assert target == f"orderkit/_bundled/{source}", "orderkit/assets.py looks there"


def commands() -> list[list[str]]:
    entry = json.loads(re.findall(r"(?m)^CMD (\[.*\])$", DOCKERFILE)[-1])
    ours = [service for service in COMPOSE["services"].values() if "build" in service]
    return [entry, *(service["command"] for service in ours if "command" in service)]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_containers_start_commands_that_exist(command: list[str]) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "orderkit", *command, "--help"], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.returncode == 0, shown.stderr


def test_containers_set_only_settings_that_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    environment: dict[str, Any] = {}
    for service in COMPOSE["services"].values():
        environment |= service.get("environment", {})
    named = {name for name in environment if name.startswith(PREFIX)}
    assert named | set(re.findall(rf"\b({PREFIX}\w+)=", DOCKERFILE)) <= known


def test_the_stack_needs_no_env_file() -> None:
    text = (ROOT / "compose.yaml").read_text()
    assert re.findall(r"\$\{\w+\}|\$\{\w+:?\?", text) == [], "a variable without a default"
    files = [entry for service in COMPOSE["services"].values() for entry in service.get("env_file", [])]
    assert all(entry["required"] is False for entry in files)


def test_the_image_has_the_files_that_the_dockerfile_copies() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source for line in re.findall(r"(?m)^COPY (?!--from)(.+)$", DOCKERFILE) for source in line.split()[:-1]}
    assert copied == let_in
    assert all((ROOT / source).exists() for source in copied)


def test_ci_runs_the_command_that_the_readme_gives() -> None:
    block = re.search(r"<!-- test-command -->\n```sh\n(.+?)\n```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None, ".ci/run takes the command from there"
    assert "\n" not in block[1]
    assert "--require-hashes -r requirements/ci.txt" in block[1]
    assert block[1].endswith("./check")
    assert {"run": ".ci/run"} in WORKFLOW["jobs"]["check"]["steps"]


def test_ci_tests_the_oldest_python_that_is_promised() -> None:
    oldest = PROJECT["requires-python"].removeprefix(">=")
    versions = WORKFLOW["jobs"]["check"]["strategy"]["matrix"]["python"]
    assert versions[0] == oldest
    assert {f"Programming Language :: Python :: {version}" for version in versions} <= set(PROJECT["classifiers"])
