"""docs/cli.md: every command and what it takes, and its examples do what they say."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orderkit.cli import cli_page, main
from orderkit.db import Database
from orderkit.fulfillment import by_hand
from orderkit.orders import snapshot
from orderkit.settings import Settings
from tests.cli.conftest import Cli
from tests.factories import make_product, make_user
from tests.processes import Processes
from tests.shop import Shop

ROOT = Path(__file__).resolve().parents[2]
STAY_UP = ("serve", "worker", "simulate", "demo", "print-pack")
"""Those that run until they are stopped, or take long; tests of their own start them."""


def all_commands() -> dict[str, Any]:
    """Every command that does something, by what one types."""
    found: dict[str, Any] = {}
    for name in main.COMMANDS:
        command = main.load(name)
        inner = getattr(command, "commands", None) or {"": command}
        found |= {f"{name} {sub}".strip(): one for sub, one in inner.items()}
    return found


def calls() -> list[str]:
    """Every call of orderkit in an example, once, without what the shell does around it."""
    lines = [line for command in all_commands().values() for line in cli_page.examples(command)]
    return list(dict.fromkeys(call for line in lines for call in re.split(r" (?:\|\||&&) | < \S+$", line) if call))


def test_the_committed_page_is_the_one_that_is_written(cli: Cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_page.text(), "run: orderkit commands -o docs/cli.md"
    assert cli("commands") == (0, page, "")
    assert cli("commands", "-o", str(tmp_path / "page.md")) == (0, "", "")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page


def test_every_command_has_a_section_with_its_help_usage_options_and_example() -> None:
    sections = dict(re.findall(r"(?ms)^##+ orderkit ([\w -]+)\n(.*?)(?=^##|\Z)", cli_page.text()))
    for typed, command in all_commands().items():
        section = sections[typed]
        assert command.help.strip().splitlines()[0] in section
        assert f"```\norderkit {typed}" in section
        for param in command.params:
            for one in param.opts if param.param_type_name == "option" else []:
                assert f"`{one}" in section, (typed, one)
            assert " ".join(param.help.split()).replace("|", "\\|") in section, (typed, param.name)
        for example in cli_page.examples(command):
            assert f"\n{example}\n" in section


def test_links_of_the_overview_lead_to_its_sections() -> None:
    page = cli_page.text()
    linked = re.findall(r"\(#([\w-]+)\)", page)
    assert linked == [f"orderkit-{typed.replace(' ', '-')}" for typed in all_commands()]
    assert set(linked) <= {one.replace(" ", "-") for one in re.findall(r"(?m)^##+ (orderkit [\w -]+)$", page)}


def test_exit_code_1_is_told_only_of_commands_that_there_are() -> None:
    assert set(all_commands()) >= cli_page.DOES_NOT_HOLD.keys()


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


TYPED = "correct horse battery staple 7\n"
"""A new password."""

Prepare = Callable[[Database, Settings], object]


def people(database: Database, _settings: Settings) -> None:
    for name in ("ada", "mallory", "customer"):
        make_user(database, email=f"{name}@example.com")


def order(database: Database, settings: Settings) -> None:
    Shop(database, settings).paid()


def shipped(database: Database, settings: Settings) -> None:
    """An order of two pieces, as `--line 1:2` has it, that has left."""
    placed = Shop(database, settings).paid(quantity=2)
    with database.transaction() as session:
        by_hand.ship(session.connection(), snapshot.lock(session.connection(), [placed.id])[placed.id])


def letter(database: Database, settings: Settings) -> None:
    Shop(database, settings).dead()


def goods(database: Database, _settings: Settings) -> None:
    make_product(database, sku="TEA-001", stock=10)


PREPARED: dict[str, Prepare] = {
    "orders": order,
    "orders refund": shipped,
    "dead-letters": letter,
    "report spending": people,
    "stock": goods,
    "users": people,
}
"""What there has to be for the examples of a command, or of all commands of a group."""


@pytest.mark.parametrize("call", [one for one in calls() if one.split()[1] not in STAY_UP])
def test_an_example_does_what_it_says(
    call: str,
    database: Database,
    settings: Settings,
    processes: Processes,
    monkeypatch: pytest.MonkeyPatch,
    cli: Cli,
) -> None:
    for name, value in processes.env.items():
        monkeypatch.setenv(name, value)
    group, command = call.split()[1:3] if len(call.split()) > 2 else (call.split()[1], "")
    for typed in (f"{group} {command}", group):
        if typed in PREPARED:
            PREPARED[typed](database, settings)
            break
    prepare_files()
    if group == "users" and command == "create":
        call = call.replace("ada@", "grace@")  # ada is there for the others
    if group == "keys" and command == "retire":
        call = re.sub(r"\S+$", an_older_key(cli), call)
    if group == "seed":
        call = call.replace("50000", "50").replace("730", "73")
    meant = ["--yes"] if command in ("cancel", "refund", "discard") else []
    told = cli(*shlex.split(call)[1:], *meant, stdin=TYPED)
    # There is no worker here, which the doctor finds.
    assert told.code == 0 or (told.code, call) == (1, "orderkit doctor"), told
    assert told.out or told.err or " -o " in call


def prepare_files() -> None:
    """Those that examples name."""
    shutil.copy(ROOT / "docs" / "examples" / "orders.csv", "orders.csv")
    Path("docs").mkdir()
    order_id = "01a1ff1e-5e66-735f-ad12-83b0ad94d44b"
    line = {
        "at": "2026-03-01T00:00:00Z",
        "level": "INFO",
        "message": "m",
        "order_id": order_id,
        "route": "/",
        "status": 503,
    }
    for name in ("api", "worker", "simulator"):
        Path(f"{name}.log").write_text(json.dumps(line) + "\n")


def an_older_key(cli: Cli) -> str:
    for _ in range(2):
        assert cli("keys", "rotate").code == 0
    older: str = json.loads(cli("keys", "list", "--json").out)[-1]["id"]
    return older


@pytest.mark.parametrize("call", calls())
def test_an_example_names_options_that_there_are(call: str) -> None:
    words = shlex.split(call)[1:]
    typed = max((one for one in all_commands() if words[: len(one.split())] == one.split()), key=len)
    prepare_files()
    all_commands()[typed].make_context(typed, words[len(typed.split()) :])
