"""Every command of docs/runbook.md does what it says there, in a shop with a parcel that was given up and an open payment."""

from __future__ import annotations

import re
import shlex
from contextlib import closing
from pathlib import Path

import pytest

from orderkit.db import Database
from orderkit.observability import metrics
from orderkit.settings import Settings
from orderkit.system.numbers import Numbers
from orderkit.system.reader import Reader
from tests.cli.conftest import Cli
from tests.client import running
from tests.processes import Processes
from tests.shop import Shop

PAGE = Path(__file__).resolve().parents[2] / "docs" / "runbook.md"
API, WORKER = "http://127.0.0.1:8000", "http://127.0.0.1:9100"


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


def commands() -> list[str]:
    """Each once, in their order; a block of the page is a block of lines for a shell."""
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```$", PAGE.read_text(encoding="utf-8"))
    return list(dict.fromkeys(line for block in blocks for line in block.splitlines()))


def test_every_section_has_commands_and_says_what_it_means_and_what_to_do() -> None:
    sections = re.split(r"(?m)^## ", PAGE.read_text(encoding="utf-8"))[2:]
    assert len(sections) > 20
    for section in sections:
        assert "\n**Means**: " in section, section[:20]
        assert "\n```sh\n" in section, section[:20]
        assert "\n**Do**: " in section, section[:20]


def test_links_within_the_page_lead_to_its_sections() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\(#([\w-]+)\)", page)) <= set(re.findall(r"(?m)^## (\S+)$", page))


def test_every_command_for_orderkit_ends_well(
    database: Database, settings: Settings, processes: Processes, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    for name, value in processes.env.items():
        monkeypatch.setenv(name, value)
    shop = Shop(database, settings)
    pending, letter = shop.place(), shop.dead()
    ours = [line for line in commands() if line.startswith("orderkit ")]
    assert len(ours) > 10
    for line in ours:
        told = cli(*shlex.split(line.replace("ORDER", str(pending.id)).replace("LETTER", str(letter.id)))[1:])
        # The doctor may well find something: there is no worker here.
        assert told.code == 0 or (told.code, line) == (1, "orderkit doctor"), (line, told)
        assert told.err == ""
        assert told.out
    assert shop.letter().resolution == "retried"


def test_every_look_at_api_and_worker_shows_something(database: Database, settings: Settings) -> None:
    looks = [line for line in commands() if not line.startswith("orderkit ")]
    assert len(looks) > 20
    with running(settings) as api, closing(Reader(settings)) as reader:
        of_worker = metrics.exposition("worker", Numbers(reader)).decode()
        for line in looks:
            curl, _, grep = line.partition(" | grep ")
            [_, silent, url] = shlex.split(curl)
            assert silent == "-s"
            if url == f"{WORKER}/metrics":
                text = of_worker
            else:
                answer = api.get(url.removeprefix(API))
                assert answer.status == 200, line
                text = answer.body.decode()
            assert grep in text, line
