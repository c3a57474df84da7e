"""The application itself: it starts, refuses what is wrong, says how it is, and knows each request by an id."""

from __future__ import annotations

import asyncio
import sys

from orderkit.demo.processes import free_port
from orderkit.ids import new_id
from orderkit.print_pack.checks.checking import Check, expect, same
from orderkit.print_pack.checks.site import Site


async def _serves(site: Site) -> str:
    document = (await site.live.must(200, "GET", "/openapi.json")).body
    expect(document["info"]["title"] == "orderkit", "what answers is not orderkit")
    return f"version {document['info']['version']} answers at {len(document['paths'])} paths"


async def _fails_fast(site: Site) -> str:
    ran = await site.live.command("serve", db_timeout="never", secret_kee="x")  # noqa: S106 - a name nobody has
    same(ran.code, 2, "the exit code of orderkit serve with two wrong settings")
    for name in ("ORDERKIT_DB_TIMEOUT", "ORDERKIT_SECRET_KEE"):
        expect(name in ran.err, f"{name} is wrong and not told of")
    return "two wrong settings, both told at once, and nothing started (exit code 2)"


async def _refuses_unmigrated(site: Site) -> str:
    ran = await site.live.command("serve", home=str(site.live.home / "empty"))
    expect(ran.code != 0, "orderkit serve started on a database without tables")
    expect("orderkit migrate" in ran.err, f"it does not say what to run: {ran.err[:80]}")
    return f"a database without tables is refused, with the command to run (exit code {ran.code})"


async def _live(site: Site) -> str:
    for path in ("/health/live", "/health/liveness"):
        same((await site.live.must(200, "GET", path)).body, {"status": "ok"}, path)
    return "200 under both names"


async def _ready(site: Site) -> str:
    checks = (await site.live.must(200, "GET", "/health/ready")).body["checks"]
    missing = {"database", "schema", "queue", "process", "provider"} - checks.keys()
    expect(not missing, f"it says nothing of {', '.join(sorted(missing))}")
    return ", ".join(f"{name} {state}" for name, state in sorted(checks.items()))


async def _request_id(site: Site) -> str:
    sent = f"check-{new_id().hex}"
    kept = await site.live.must(404, "GET", "/nothing", headers={"X-Request-ID": sent})
    same(kept.headers.get("X-Request-ID"), sent, "the id that came back")
    same(kept.body.get("request_id"), sent, "the id in the problem document")
    made = [
        (await site.live.ask("GET", "/health/live", headers={"X-Request-ID": "not sane"})).headers["X-Request-ID"]
        for _ in range(2)
    ]
    expect(made[0] != made[1] and "not sane" not in made, "a strange id is kept, or one is given twice")
    return "a sane one is kept, in the problem document too; others get a new one each"


async def _drains(site: Site) -> str:
    live, port = site.live, free_port()
    command = (sys.executable, "-m", "orderkit", "serve", "--port", str(port))
    log = live.home / "drained.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=live.home, env=live.processes.environment, stdout=out, stderr=out
        )
    try:
        while "ready for requests" not in log.read_text(errors="replace"):
            expect(process.returncode is None, "a second API did not start")
            await asyncio.sleep(0.1)
        process.terminate()
        same(await process.wait(), 0, "the exit code after SIGTERM")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return "SIGTERM drains, and the exit code is 0"


CHECKS = (
    Check(
        "app.serves",
        "The application starts with one command and answers.",
        _serves,
        ("orderkit/app.py", "orderkit/cli/serve.py", "tests/cli/test_serve.py::test_it_serves_on_either_engine"),
    ),
    Check(
        "config.fails_fast",
        "A wrong or unknown setting stops the start, and all are told at once.",
        _fails_fast,
        ("orderkit/settings.py", "tests/settings/test_settings.py::test_every_problem_is_told_at_once"),
    ),
    Check(
        "migrate.refuses",
        "The API refuses a database that is not migrated.",
        _refuses_unmigrated,
        ("orderkit/migrating.py", "tests/migrations/test_migrating.py::test_an_unmigrated_database_says_what_to_run"),
    ),
    Check(
        "health.live",
        "Liveness answers without asking anybody else.",
        _live,
        ("orderkit/api/health.py", "tests/api/test_health.py::test_without_a_database_it_lives_and_is_not_ready"),
    ),
    Check(
        "health.ready",
        "Readiness names what is needed and how it is.",
        _ready,
        (
            "orderkit/api/health.py",
            "tests/api/test_health.py::test_not_ready_on_a_schema_of_another_version",
        ),
    ),
    Check(
        "request.id",
        "Every request has an id, which its answer and its errors carry.",
        _request_id,
        ("orderkit/api/edge.py", "tests/api/test_edge.py::test_a_sane_request_id_comes_back"),
    ),
    Check(
        "app.drains",
        "A process that is told to stop drains and ends well.",
        _drains,
        ("orderkit/serving.py", "tests/cli/test_serve.py"),
        within_s=45,
    ),
)
