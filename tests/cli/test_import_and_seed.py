"""`orderkit import orders` and `orderkit seed`, as processes."""

from __future__ import annotations

import csv
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlmodel import func, select

from orderkit.cli.import_ import FormatName
from orderkit.db import Database
from orderkit.orders.models import Order
from orderkit.orders.sources import FORMATS
from tests.processes import Processes

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "tests/orders/data/online-retail-sample.csv"
EXAMPLE = ROOT / "docs/examples/orders.csv"

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Run:
    """Runs orderkit; on the test's database, if it has one, else on none at all."""
    environment = {"ORDERKIT_HOME": str(tmp_path / "home")}
    if "database" in request.fixturenames:
        database: Database = request.getfixturevalue("database")
        environment["ORDERKIT_DATABASE_URL"] = database.url.render_as_string(hide_password=False)
    started = Processes(tmp_path, environment)

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return started.run(*map(str, arguments))

    return run


def orders(database: Database) -> int:
    with database.reading() as session:
        return session.exec(select(func.count()).select_from(Order)).one()


def test_the_formats_that_help_names_are_those_there_are() -> None:
    assert {one.value for one in FormatName} == set(FORMATS)


def test_import_answers_in_json_what_the_file_less_the_rejects_adds_up_to(
    database: Database, run: Run, tmp_path: Path
) -> None:
    rejects = tmp_path / "rejects.csv"
    done = run("import", "orders", SAMPLE, "--format", "online-retail", "--rejects", rejects, "--json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert list(answer) == ["read", "taken", "rejected", "orders_created", "gross_by_day", "gross_by_country"]
    assert (answer["read"], answer["taken"], answer["rejected"], answer["orders_created"]) == (196, 180, 16, 33)

    with rejects.open(newline="") as file:
        rejected = list(csv.DictReader(file))
    source = SAMPLE.read_text().splitlines()
    assert list(rejected[0]) == [*source[0].split(","), "line", "reason"]
    assert len(rejected) == 16
    numbers = [int(row["line"]) for row in rejected]
    assert numbers == sorted(numbers)
    left_out = [next(csv.reader([source[number - 1]])) for number in numbers]
    assert left_out == [list(row.values())[:8] for row in rejected]

    by_day: dict[str, int] = {}
    by_country: dict[str, int] = {}
    kept = [text for number, text in enumerate(source, start=1) if number not in numbers]
    for row in csv.DictReader(kept):
        if int(row["Quantity"]) > 0:
            month, day, year = row["InvoiceDate"].split()[0].split("/")
            pounds, _, pence = row["UnitPrice"].partition(".")
            amount = int(row["Quantity"]) * (100 * int(pounds) + int(pence.ljust(2, "0")))
            date = f"{year}-{month:>02}-{day:>02}"
            by_day[date] = by_day.get(date, 0) + amount
            by_country[row["Country"]] = by_country.get(row["Country"], 0) + amount
    assert (answer["gross_by_day"], answer["gross_by_country"]) == (by_day, by_country)

    again = json.loads(run("import", "orders", SAMPLE, "--json").stdout)
    assert again == answer | {"orders_created": 0}
    assert orders(database) == 33


def test_a_dry_run_says_what_would_be_taken_and_needs_no_database(run: Run, tmp_path: Path) -> None:
    done = run("import", "orders", EXAMPLE, "--dry-run", "--rejects", "rejects.csv")
    assert done.returncode == 0, done.stderr
    assert "11 taken" in done.stdout
    assert "3 rejected; they are in rejects.csv" in done.stdout
    assert "dry run: nothing was written" in done.stdout
    assert (tmp_path / "rejects.csv").exists()
    assert not (tmp_path / "home").exists()


def test_the_rejects_file_can_be_mended_and_imported(database: Database, run: Run, tmp_path: Path) -> None:
    rejects = tmp_path / "rejects.csv"
    first = run("import", "orders", EXAMPLE, "--rejects", rejects).stdout
    assert "7 orders created" in first
    assert "11 taken\n" in first
    again = run("import", "orders", EXAMPLE).stdout
    assert "11 taken, 11 of them there before\n" in again
    assert "0 orders created" in again
    rejects.write_text(rejects.read_text().replace(",one,", ",1,").replace("16:31:00,", "16:31:00Z,"))
    mended = run("import", "orders", rejects)
    assert "0 rejected" in mended.stdout
    assert "2 orders created" in mended.stdout
    assert orders(database) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none.csv",), "error: cannot read none.csv: No such file or directory"),
        ((".",), "error: cannot read .: Is a directory"),
        (("empty.csv",), "error: empty.csv is empty; its first line must name the columns"),
        (("other.csv",), "error: other.csv has the columns of no known format (online-retail: InvoiceNo"),
        (("other.csv", "--format", "csv"), "error: other.csv has no column order, customer_email"),
        (("binary.csv",), "error: binary.csv is neither UTF-8 nor Windows-1252 text"),
        ((EXAMPLE, "--rejects", "no/where.csv", "--dry-run"), "error: cannot write no/where.csv: No such file"),
        ((EXAMPLE, "--rejects", EXAMPLE, "--dry-run"), "is the file to import; name another one for the rejects"),
        ((EXAMPLE, "--format", "xml"), "'xml' is not one of 'online-retail', 'csv'"),
    ],
)
def test_wrong_use_is_one_clear_line_and_exit_2(
    run: Run, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "binary.csv").write_bytes(bytes(range(128, 256)))
    before = EXAMPLE.read_bytes()
    done = run("import", "orders", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""
    assert EXAMPLE.read_bytes() == before


@pytest.mark.parametrize(
    "command", [("import", "orders", str(EXAMPLE)), ("seed",), ("report", "daily"), ("orders", "list")], ids=" ".join
)
def test_a_database_that_is_not_there_is_one_clear_line(run: Run, tmp_path: Path, command: tuple[str, ...]) -> None:
    done = run(*command)
    assert done.returncode == 2
    assert re.fullmatch(r"error: there is no database /.+; run: orderkit migrate, or set .+\n", done.stderr)
    assert not list(tmp_path.rglob("*.db")), "and none is made"


def test_seed_shows_the_password_once_and_tells_what_it_did(database: Database, run: Run) -> None:
    arguments = ("seed", "--orders", "50", "--days", "20", "--users", "5")
    first = run(*arguments)
    assert first.returncode == 0, first.stderr
    assert "5 users created, of shopper1@example.com to shopper5@example.com" in first.stdout
    assert re.search(r"^their password, shown only now: \S{12,}$", first.stdout, re.MULTILINE)
    assert "50 orders created" in first.stdout
    assert "seeding orders: 50 of 50" in first.stderr
    second = run(*arguments)
    assert "password, shown" not in second.stdout
    assert "0 orders created" in second.stdout
    assert "50 of this history were there already" in second.stdout
    assert orders(database) == 50
