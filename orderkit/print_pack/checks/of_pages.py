"""What is written down, and that it agrees with the software."""

from __future__ import annotations

import asyncio
import re
from importlib import import_module
from importlib.metadata import PackageNotFoundError, metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from orderkit import yaml_text
from orderkit.assets import asset
from orderkit.explain import indexes
from orderkit.print_pack.checks.checking import Check, NotChecked, expect, same
from orderkit.print_pack.checks.site import Site

DIAGRAMS = ("erd", "states", "processes", "journey")
DEMO_STEPS = 3


async def _readme(_site: Site) -> str:
    page = _text("README.md", otherwise=_description())
    for said in ("pip install", "orderkit demo", "orderkit serve", "## Ten things to do next", "docs/journey.md"):
        expect(said in page, f"the README does not say {said}")
    return "what it is, how to run it, ten things to do next, and where to read on"


def _description() -> str | None:
    """The README as the wheel has it."""
    try:
        told: Any = metadata("orderkit")
    except PackageNotFoundError:
        return None
    return str(told.get("Description") or told.get_payload() or "") or None


def _text(name: str, otherwise: str | None = None) -> str:
    try:
        return asset(name).read_text(encoding="utf-8")
    except FileNotFoundError:
        if otherwise is not None:
            return otherwise
        raise NotChecked(f"{name} is not part of this installation") from None


async def _diagrams(_site: Site) -> str:
    try:
        drawn = import_module("orderkit.print_pack.diagrams").DIAGRAMS
    except ImportError as error:
        raise NotChecked(f"diagrams cannot be drawn here ({error}); pip install 'orderkit[print]'") from None
    for name in DIAGRAMS:
        expect(name in drawn, f"there is no diagram {name}")
        try:
            picture = await asyncio.to_thread(drawn[name])
        except ImportError as error:
            raise NotChecked(f"diagrams cannot be drawn here ({error}); pip install 'orderkit[print]'") from None
        expect("</svg>" in picture, f"the diagram {name} is no picture")
    return f"{', '.join(DIAGRAMS)}: drawn from the code"


async def _decisions(_site: Site) -> str:
    folder = _folder("docs/decisions")
    records = sorted(folder.glob("[0-9]*.md"))
    for needed in ("0001-auth-model.md", "0002-idempotency.md"):
        headings = re.findall(r"(?m)^## (\w[\w-]*)", _text(f"docs/decisions/{needed}"))
        lacking = {"Context", "Options", "Decision", "Trade-offs"} - set(headings)
        expect(not lacking, f"{needed} lacks {', '.join(sorted(lacking))}")
    return f"{len(records)} records, from the model of access on"


def _folder(name: str) -> Path:
    try:
        return asset(name)
    except FileNotFoundError:
        raise NotChecked(f"{name} is not part of this installation") from None


async def _contract(site: Site) -> str:
    committed = _text("docs/openapi.yaml").splitlines()
    served = (await site.live.must(200, "GET", "/openapi.json")).body
    expect(isinstance(served, dict) and "paths" in served, "what is served is no OpenAPI document")
    wanted = yaml_text.text(served).splitlines()
    for number, (here, there) in enumerate(zip_longest(committed, wanted), 1):
        expect(here == there, f"line {number} of docs/openapi.yaml is {here!r}, and of what is served {there!r}")
    return f"docs/openapi.yaml is what is served, all {len(served['paths'])} paths"


async def _why_indexes(_site: Site) -> str:
    expect(_text("docs/indexes.md") == indexes.page(), "docs/indexes.md is not what orderkit explain --docs prints")
    return "docs/indexes.md is what orderkit explain --docs prints"


async def _trade_offs(_site: Site) -> str:
    for name in ("docs/analytics.md", "docs/decisions/0013-rollups.md"):
        expect(len(_text(name)) > 1000, f"{name} says next to nothing")
    return "docs/analytics.md and decision 13: rollups or plain sums, and what each costs"


async def _runbook(site: Site) -> str:
    page = _text("docs/runbook.md")
    sections = re.split(r"(?m)^## ", page)[2:]
    incomplete = [
        one.split("\n", 1)[0] for one in sections if not ("**Means**" in one and "```sh\n" in one and "**Do**" in one)
    ]
    expect(sections and not incomplete, f"sections without meaning, look or remedy: {', '.join(incomplete[:3])}")
    expect("restart" in page and "## First of all" in page, "it does not say how to begin, or how to restart")
    offered = (await site.live.command("--help")).out
    commands = set(re.findall(r"(?m)^orderkit ([a-z-]+)", page))
    unknown = sorted(name for name in commands if not re.search(rf"(?<![\w-]){name}(?![\w-])", offered))
    expect(not unknown, f"it names commands that there are not: {', '.join(unknown)}")
    return f"restart, rollback, and {len(sections)} troubles: what each means, how to look, what to do"


async def _interview(_site: Site) -> str:
    page = _text("print-pack/templates/interview-brief.md.j2")
    found = re.search(r"(?ms)^## [^\n]*steps to show$(.*?)^## ", page)
    steps = re.findall(r"(?m)^\d\. \*\*", found[1]) if found else []
    same(len(steps), DEMO_STEPS, "demo steps of the brief")
    for said in ("trade-off", "## The pitch, three minutes", "## The pitch, two minutes"):
        expect(said in page, f"the brief has no {said.removeprefix('## ')}")
    return f"{DEMO_STEPS} demo steps, the most important trade-off, and a pitch of three minutes and of two"


async def _one_command(site: Site) -> str:
    piece = site.demo
    if piece is None:
        raise NotChecked("there is no demo evidence yet; run: orderkit print-pack --collect")
    judged = piece.data["counts"]["checks"]
    wrong = [one["what"] for one in judged if not one["holds"]]
    expect(judged and not wrong, f"the demo's counts do not agree: {', '.join(wrong)}")
    return f"{piece.command}: everything up, played, judged by {len(judged)} counts and gone ({piece.commit})"


async def _deployment(_site: Site) -> str:
    compose, image = _text("compose.yaml"), _text("Dockerfile")
    lacking = [name for name in ("api", "worker", "postgres", "redis") if not re.search(rf"(?m)^  {name}:$", compose)]
    expect(not lacking, f"compose.yaml has no {', '.join(lacking)}")
    expect(re.search(r"(?m)^USER \S+", image), "the image runs as root")
    expect("HEALTHCHECK" in image or "healthcheck:" in compose, "nobody looks whether the containers are well")
    return "an image that is not root's; API, worker, PostgreSQL and Redis together"


async def _pipeline(_site: Site) -> str:
    expect(".ci/run" in _text(".github/workflows/ci.yml"), "the workflow does not run what developers run")
    expect("pytest" in _text("check") + _text(".ci/run"), "the check does not run the tests")
    return "CI runs .ci/run, which developers can run too, and the tests with it"


async def _assistant(_site: Site) -> str:
    raise NotChecked("not yet: the assistant is not written")


CHECKS = (
    Check(
        "pages.readme",
        "The README says what it is and how to run it.",
        _readme,
        ("README.md", "tests/cli/test_readme.py"),
    ),
    Check(
        "pages.diagrams",
        "Diagrams are drawn from the code.",
        _diagrams,
        ("orderkit/print_pack/diagrams", "docs/journey.md"),
    ),
    Check(
        "pages.decisions",
        "Decisions are written down with options and trade-offs.",
        _decisions,
        ("docs/decisions",),
    ),
    Check(
        "pages.contract",
        "The OpenAPI document that is committed is the one that is served.",
        _contract,
        ("docs/openapi.yaml", "tests/api/test_openapi.py::test_the_document_is_served_as_it_is_made"),
    ),
    Check(
        "pages.why_indexes",
        "Why each index exists is written by the program.",
        _why_indexes,
        ("docs/indexes.md", "tests/explain/test_indexes.py::test_the_page_of_indexes_is_what_the_command_prints"),
    ),
    Check(
        "pages.trade_offs",
        "The trade-offs of the reports are explained.",
        _trade_offs,
        ("docs/analytics.md", "docs/decisions/0013-rollups.md"),
    ),
    Check(
        "pages.runbook",
        "The runbook covers restart and every alert.",
        _runbook,
        ("docs/runbook.md", "tests/cli/test_runbook.py::test_every_command_for_orderkit_ends_well"),
    ),
    Check(
        "pages.interview",
        "The interview brief has three demo steps and the trade-offs.",
        _interview,
        ("print-pack/templates/interview-brief.md.j2",),
    ),
    Check(
        "pages.one_command",
        "One command brings up the whole environment.",
        _one_command,
        ("orderkit/cli/demo.py", "compose.yaml", "tests/cli/test_demo.py"),
    ),
    Check(
        "pages.deployment",
        "An image and a stack of containers are described.",
        _deployment,
        ("Dockerfile", "compose.yaml", "tests/architecture/test_packaging.py"),
    ),
    Check(
        "pages.pipeline",
        "Every change is checked by a pipeline.",
        _pipeline,
        (".github/workflows/ci.yml", ".ci/run", "check"),
    ),
    Check(
        "assistant",
        "A language model answers questions about orders, with evaluations and limits.",
        _assistant,
        (),
    ),
)
