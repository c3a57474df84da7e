"""What is described for hosts starts: settings that production takes, commands that there are, and time to drain."""

from __future__ import annotations

import configparser
import http.server
import json
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orderkit import serving
from orderkit.app import create_app
from orderkit.cli import main
from orderkit.settings import PREFIX, judge_settings, load_settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
RENDER = YAML(typ="safe").load((ROOT / "render.yaml").read_text())
DEPLOY = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "deploy.yml").read_text())
FLY = tomllib.loads((ROOT / "deploy" / "fly.toml").read_text())
RAILWAY = {path.stem: tomllib.loads(path.read_text()) for path in sorted((ROOT / "deploy" / "railway").glob("*.toml"))}
DATABASE, REDIS = "postgresql://user:password@10.0.0.1/shop", "redis://10.0.0.2:6379"
GENERATED = {"ORDERKIT_SECRET_KEY": secrets.token_urlsafe(48)}
SET_BY_HAND = {**GENERATED, "ORDERKIT_DATABASE_URL": DATABASE, "ORDERKIT_REDIS_URL": REDIS}
"""What docs/deployment.md has one set where a file cannot: secrets, and where database and Redis are."""


def of_render(service: dict[str, Any]) -> dict[str, str]:
    """The environment that Render makes of a service's variables."""
    groups = {one["name"]: one["envVars"] for one in RENDER["envVarGroups"]}
    given = {}
    for entry in service["envVars"]:
        for one in groups[entry["fromGroup"]] if "fromGroup" in entry else [entry]:
            if "fromDatabase" in one:
                assert one["fromDatabase"]["name"] in {database["name"] for database in RENDER["databases"]}
                given[one["key"]] = DATABASE
            elif "fromService" in one:
                named = {(service["type"], service["name"]) for service in RENDER["services"]}
                assert (one["fromService"]["type"], one["fromService"]["name"]) in named
                given[one["key"]] = REDIS
            elif one.get("generateValue"):
                given[one["key"]] = secrets.token_urlsafe(32)
            elif "value" in one:
                given[one["key"]] = one["value"]
            else:
                assert one["sync"] is False
                given[one["key"]] = "https://shop.example.com"
    return given


RENDERED = [one for one in RENDER["services"] if one["type"] in ("web", "worker")]


def environments() -> dict[str, dict[str, str]]:
    lines = (ROOT / "deploy" / "systemd" / "orderkit.env").read_text().splitlines()
    systemd = dict(line.split("=", 1) for line in lines if not line.startswith("#"))
    return {
        **{f"render {one['type']}": of_render(one) for one in RENDERED},
        "fly": FLY["env"] | SET_BY_HAND,
        "systemd": systemd | GENERATED,
    }


@pytest.mark.parametrize("host", environments())
def test_production_takes_the_settings(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environments()[host].items():
        monkeypatch.setenv(name, value)
    judged = judge_settings()
    assert judged.problems == []
    assert judged.settings.env == "production"
    assert judged.settings.resolved_database_url.startswith("postgresql")
    assert judged.settings.redis_url
    assert not judged.settings.links_lead_nowhere or host == "fly", "where it is found is asked for there"


def test_a_setting_that_there_is_not_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"{PREFIX}NONSENSE", "1")
    assert judge_settings().problems


def unit_of(path: Path) -> configparser.ConfigParser:
    unit = configparser.ConfigParser(strict=True, interpolation=None)
    unit.optionxform = str  # type: ignore[method-assign,assignment]
    unit.read(path)
    return unit


def calls() -> Iterator[str]:
    """Every call of orderkit that a host is told to make."""
    for service in RENDERED:
        yield service["startCommand"]
        yield service["preDeployCommand"]
    yield from (f"orderkit {one}" for one in (FLY["deploy"]["release_command"], *FLY["processes"].values()))
    for one in RAILWAY.values():
        yield from (*one["deploy"]["preDeployCommand"], one["deploy"]["startCommand"])
    for unit in UNITS:
        yield unit_of(unit)["Service"]["ExecStart"].removeprefix("/opt/orderkit/bin/")


@pytest.mark.parametrize("call", sorted(set(calls())))
def test_hosts_start_commands_that_there_are(call: str) -> None:
    call = re.sub(r'^/bin/sh -c "exec (.*)"$', r"\1", call).replace("$PORT", "8000")
    program, name, *arguments = shlex.split(call)
    assert program == "orderkit"
    main.load(name).make_context(name, arguments)


def test_a_process_has_time_to_drain() -> None:
    grace = [service["maxShutdownDelaySeconds"] for service in RENDERED]
    grace += [FLY["kill_timeout"], *(one["deploy"]["drainingSeconds"] for one in RAILWAY.values())]
    grace += [int(unit_of(unit)["Service"]["TimeoutStopSec"]) for unit in UNITS if "migrate" not in unit.name]
    assert len(grace) == 7
    assert all(serving.STOPPED_WITHIN_S < seconds <= 300 for seconds in grace)
    assert FLY["kill_signal"] == "SIGTERM"


def test_hosts_ask_an_address_that_says_whether_it_can_serve() -> None:
    asked = {RENDERED[0]["healthCheckPath"], RAILWAY["api"]["deploy"]["healthcheckPath"]}
    asked |= {one["path"] for one in FLY["http_service"]["checks"]}
    assert asked == {"/health/ready"}
    assert asked <= create_app(load_settings()).openapi()["paths"].keys()


def test_render_keeps_all_in_one_region_and_lets_nobody_in_from_outside() -> None:
    kept = [*RENDER["services"], *RENDER["databases"]]
    assert len({one["region"] for one in kept}) == 1
    assert [one["ipAllowList"] for one in kept if "ipAllowList" in one] == [[], []]
    assert {one["buildCommand"] for one in RENDERED} == {
        "pip install --require-hashes -r requirements/runtime.txt && pip install --no-deps ."
    }


def test_fly_serves_where_its_proxy_looks_and_builds_the_image() -> None:
    port = FLY["http_service"]["internal_port"]
    assert f"--port {port}" in FLY["processes"]["api"]
    assert set(FLY["http_service"]["processes"]) < FLY["processes"].keys()
    assert (ROOT / "deploy" / FLY["build"]["dockerfile"]).resolve() == ROOT / "Dockerfile"
    assert json.loads(re.findall(r"(?m)^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text())[0]) == ["orderkit"]
    assert all((ROOT / one["build"]["dockerfilePath"]).exists() for one in RAILWAY.values())


def test_units_are_understood_by_systemd(tmp_path: Path) -> None:
    assert {unit.stem for unit in UNITS} == {"orderkit-api", "orderkit-migrate", "orderkit-worker"}
    for unit in UNITS:
        text = unit.read_text().replace("/opt/orderkit/bin/orderkit", sys.executable)
        (tmp_path / unit.name).write_text(
            text.replace("User=orderkit", "User=root").replace("Group=orderkit", "Group=root")
        )
        assert unit_of(unit)["Service"]["EnvironmentFile"] == "/etc/orderkit/orderkit.env"
        needed = unit_of(unit)["Unit"].get("Requires", "orderkit-migrate.service")
        assert needed in {one.name for one in UNITS}
    # Where there is no systemd, what is above has to do.
    if analyze := shutil.which("systemd-analyze"):
        command = [analyze, "verify", "--man=no", *(str(tmp_path / unit.name) for unit in UNITS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        told = [line for line in done.stderr.splitlines() if "orderkit" in line]
        assert (done.returncode, told) == (0, []), done.stderr


# ── the workflow ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_it_deploys_after_the_checks_have_passed() -> None:
    ci = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    assert DEPLOY["on"]["workflow_run"]["workflows"] == [ci["name"]]
    assert "conclusion == 'success'" in DEPLOY["jobs"]["deploy"]["if"]
    assert {service["autoDeployTrigger"] for service in RENDERED} == {"off"}, "or it would deploy before they have"


class Hook(http.server.BaseHTTPRequestHandler):
    called: list[str]

    def do_POST(self) -> None:
        self.called.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def hooks() -> Iterator[tuple[str, list[str]]]:
    """Where deploy hooks listen, and what was asked of them."""
    called: list[str] = []
    handler = type("Hook", (Hook,), {"called": called})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/deploy", called
        server.shutdown()
        thread.join()


def run_step(**given: str) -> subprocess.CompletedProcess[str]:
    [step] = DEPLOY["jobs"]["deploy"]["steps"]
    assert given.keys() == step["env"].keys()
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", step["run"]],
        env={"PATH": os.environ["PATH"], **given},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_calls_both_hooks_with_the_commit_and_tells_neither(hooks: tuple[str, list[str]]) -> None:
    address, called = hooks
    done = run_step(API_HOOK=f"{address}/api?key=canary1", WORKER_HOOK=f"{address}/worker?key=canary2", COMMIT="c0ffee")
    assert done.returncode == 0, done.stderr
    assert called == ["/deploy/api?key=canary1&ref=c0ffee", "/deploy/worker?key=canary2&ref=c0ffee"]
    assert "canary" not in done.stdout + done.stderr


def test_it_fails_without_the_secrets(hooks: tuple[str, list[str]]) -> None:
    _address, called = hooks
    done = run_step(API_HOOK="", WORKER_HOOK="", COMMIT="c0ffee")
    assert done.returncode == 1
    assert "DEPLOY_HOOK_API" in done.stdout
    assert called == []
