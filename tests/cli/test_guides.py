"""What the guides tell people to paste does what they say there."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from orderkit import migrating
from orderkit.cli import main
from orderkit.db import Database
from orderkit.demo.processes import free_port
from tests.cli.conftest import Cli
from tests.factories import make_product, make_user
from tests.processes import Processes

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def blocks(page: str, language: str = "sh") -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", text)


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what the commands call is tested on both."""
    return "sqlite"


@pytest.fixture
def shell(cli: Cli) -> Callable[[str], str]:
    """Runs lines as a shell does that stops at the first failure, orderkit in this process; gives what they print."""

    def run(lines: str) -> str:
        printed = ""
        for line in lines.splitlines():
            first, _, otherwise = line.partition(" || ")
            command, _, file = first.partition(" > ")
            told = cli(*shlex.split(command)[1:])
            if told.code and otherwise:
                told = cli(*shlex.split(otherwise)[1:])
            # There is no worker here, which the doctor may find.
            assert told.code == 0 or (told.code, line) == (1, "orderkit doctor"), (line, told)
            if file:
                Path(file).write_text(told.out)
            else:
                printed += told.out
        return printed

    return run


def test_the_sheet_of_migrations_goes_down_and_up_again(shell: Callable[[str], str]) -> None:
    [migrations, others] = blocks("commands.md")
    told = shell(migrations)
    assert "the database is now at revision 0010\n" in told
    assert told.endswith(f"up to date, at revision {migrating.head()}\n")
    assert "CREATE TABLE orders" in Path("schema.sql").read_text()
    assert "fulfillments" in shell(others)


def test_getting_started_finds_python_and_makes_a_past_to_look_at(shell: Callable[[str], str]) -> None:
    [python, past] = blocks("getting-started.md")
    [program] = shlex.split(python)[2:]
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"
    shell("orderkit migrate")
    assert "GBP" in shell(past.replace("orderkit seed", "orderkit seed --orders 200 --users 20"))


@pytest.mark.integration
def test_the_program_of_getting_started_buys_one(database: Database, processes: Processes) -> None:
    make_user(database, email="customer@example.com", password="made-up-for-this")
    make_product(database, sku="TEA-001", stock=10, unit_price=1999)
    [program] = blocks("getting-started.md", "python")
    environment = os.environ | {"API": processes.start("serve", "--port", "0").address()}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("201 paid 1999 GBP\n", "")


@pytest.mark.integration
def test_postgresql_and_redis_for_developers_start_and_are_gone_with_their_program() -> None:
    [block] = [one for one in blocks("development.md") if "PYTHON" in one]
    program = block.partition("<<'PYTHON'\n")[2].partition("PYTHON\n")[0].replace("6390", str(free_port()))
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    running = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
    with running:
        assert running.stdout is not None
        try:
            told = [shlex.split(running.stdout.readline())[1].partition("=") for _ in range(2)]
            given = {name: value for name, _, value in told}
            assert list(given) == ["ORDERKIT_DATABASE_URL", "ORDERKIT_REDIS_URL"]
            with psycopg.connect(given["ORDERKIT_DATABASE_URL"]) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
            with redis.from_url(given["ORDERKIT_REDIS_URL"]) as client:
                assert client.ping()
        finally:
            running.send_signal(signal.SIGINT)
        assert running.wait(30) == 0
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(given["ORDERKIT_DATABASE_URL"])
    with redis.from_url(given["ORDERKIT_REDIS_URL"]) as client, pytest.raises(redis.ConnectionError):
        client.ping()


def commands_named() -> Iterator[tuple[str, str]]:
    """Every `orderkit …` in the text of a page, with the page."""
    for page in (ROOT / "README.md", *DOCS.rglob("*.md")):
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"(?m)(?<!`)`(orderkit [a-z][^`\n]*)`(?!`)", text):
            yield from ((page.name, one) for one in code.split(" && "))
        for block in re.findall(r"(?ms)^```(?:sh)?\n(.*?)^```$", text):
            yield from (
                (page.name, one)
                for line in re.findall(r"(?m)^(?:docker compose exec \w+ )?(orderkit [a-z].*)$", block)
                for one in line.split(" && ")
            )


def test_every_command_that_a_page_names_is_one_with_the_options_that_there_are() -> None:
    found = 0
    for page, code in commands_named():
        code = re.sub(r"\$\(.*\)|'[^']*'", "", code)
        words = [word for word in re.split(r"\s", code) if word and word not in ("…", "...")][1:]
        command = main.load(words[0]) if words[0] in main.COMMANDS else None
        assert command is not None, (page, code)
        rest = words[1:]
        if hasattr(command, "commands") and rest and rest[0][0] not in "-[":
            assert rest[0] in command.commands, (page, code)
            command = command.commands[rest[0]]
        known = {"--help", *(opt for param in command.params for opt in param.opts)}
        named = {word.partition("=")[0] for word in rest if re.fullmatch(r"--?[a-z][\w-]*(=.*)?", word)}
        assert named <= known, (page, code)
        found += 1
    assert found > 200
