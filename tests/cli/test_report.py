"""`orderkit report`: tables for people, the same figures for programs, charts, and putting right what reports are made of."""

from __future__ import annotations

import json
import random
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sqlalchemy import text

from orderkit.analytics.facts import Sold
from orderkit.analytics.source import UNTOLD
from orderkit.auth.models import User
from orderkit.cli import report_chart
from orderkit.db import Database
from orderkit.settings import Settings
from tests import histories
from tests.cli.conftest import Cli
from tests.client import running
from tests.engines import on_sqlite
from tests.factories import make_product, make_user
from tests.histories import Back, Past


@pytest.fixture(autouse=True)
def _on_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", database.url.render_as_string(hide_password=False))


def at(day: int, hour: int = 12) -> datetime:
    return datetime(2026, 3, day, hour, tzinfo=UTC)


@pytest.fixture
def buyer(database: Database) -> User:
    return make_user(database, email="buyer@example.com")


@pytest.fixture
def march(database: Database, buyer: User) -> None:
    make_product(database, sku="TEA", name="Tea")

    def order(when: datetime, total: int, currency: str = "GBP", *refunds: Back) -> Past:
        return Past(when, buyer.id, currency, "GB", "paid", (Sold("TEA", 1, total),), refunds)

    histories.write(
        database,
        [
            order(at(1), 123_456, "GBP", Back(at(2), 100_000)),
            order(at(2), 200_000),
            order(at(2), 1_500, "JPY"),
            order(at(2), 1_005, "KWD"),
        ],
    )


@pytest.mark.usefixtures("march")
def test_a_table_shows_money_as_people_write_it(cli: Cli) -> None:
    told = cli("report", "daily", "--from", "2026-03-01", "--to", "2026-03-03")
    assert (told.code, told.err) == (0, "")
    lines = told.out.splitlines()
    assert lines[:2] == ["Sales by day", "from 2026-03-01 until before 2026-03-03, UTC"]
    assert lines[3:8] == [
        "GBP",
        "date        orders     gross  refunded       net   average",
        "2026-03-01       1  1,234.56      0.00  1,234.56  1,234.56",
        "2026-03-02       1  2,000.00  1,000.00  1,000.00  2,000.00",
        "all              2  3,234.56  1,000.00  2,234.56  1,617.28",
    ]
    assert "2026-03-02       1  1,500         0  1,500    1,500" in lines
    assert "2026-03-02       1  1.005     0.000  1.005    1.005" in lines


@pytest.mark.usefixtures("march")
def test_the_period_before_is_compared_in_per_cent(cli: Cli) -> None:
    wanted = ("--from", "2026-03-02", "--to", "2026-03-03", "--currency", "GBP", "--compare", "previous")
    told = cli("report", "sales", *wanted).out.splitlines()
    assert told[2] == "before: from 2026-03-01 until before 2026-03-02"
    assert [line.split() for line in told[-3:]] == [
        ["all", "1", "2,000.00", "1,000.00", "1,000.00", "2,000.00"],
        ["before", "1", "1,234.56", "0.00", "1,234.56", "1,234.56"],
        ["change", "0.0", "%", "+62.0", "%", "–", "-19.0", "%", "+62.0", "%"],
    ]
    drawn = _written_on(cli("report", "sales", *wanted, "--format", "svg").out)
    assert "GBP: net 1,000.00, before 1,234.56" in drawn
    assert "2026-03-02 until before 2026-03-03, UTC, compared with 2026-03-01 until before 2026-03-02" in drawn
    written = cli("report", "sales", *wanted, "--format", "csv")
    assert written.out.count("\n") == 2
    assert written.err == "CSV has the rows alone; the totals of the period before are in the other formats\n"


def _written_on(chart: str) -> list[str]:
    """The texts of a chart, which are drawn as shapes, each after a comment."""
    return list(re.findall(r"<!-- (.*?) -->", chart, re.DOTALL))


def _bars_of(chart: str) -> list[float]:
    """How long the bars that lie are."""
    shapes = re.findall(r'<path d="([^"]*)" clip-path="[^"]*" style="fill: #2b6cb0"', chart)
    sides = [[float(one) for one in re.findall(r"[ML] (\S+)", shape)] for shape in shapes]
    return [max(one) - min(one) for one in sides]


@pytest.mark.usefixtures("march", "narrow_terminal")
def test_a_terminal_of_80_columns_gets_bars_that_fit(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    for report in (("daily",), ("sales", "--by", "country"), ("revenue",), ("status",), ("top-products",)):
        told = cli("report", *report)
        assert told.code == 0
        assert all(len(_plain(line)) <= 80 for line in told.out.splitlines()), told.out
    first, second = (line for line in cli("report", "daily", "--currency", "GBP").out.splitlines() if "2026-" in line)
    assert _plain(first).count("█") > 8
    assert _plain(second).count("█") == _plain(second).count("▒") == 10
    assert "█ net ▒ refunded" in _plain(cli("report", "daily", "--currency", "GBP").out)


@pytest.mark.usefixtures("narrow_terminal")
def test_bars_are_of_what_products_are_ranked_by(cli: Cli, database: Database, buyer: User) -> None:
    make_product(database, sku="LAMP", name="Lamp")
    make_product(database, sku="TIN", name="Tin")
    sold = (Sold("LAMP", 1, 4_000), Sold("TIN", 10, 1_000))
    histories.write(database, [Past(at(1), buyer.id, "GBP", "GB", "paid", sold)])
    for by, first, over, headed in (
        ("revenue", "Lamp", "revenue", "GBP"),
        ("quantity", "Tin", "pieces", "sold in GBP"),
    ):
        lines = _plain(cli("report", "top-products", "--by", by).out).splitlines()
        assert lines[4].split()[-1] == over
        assert first in lines[5]
        assert lines[5].count("█") > 3 * lines[6].count("█") > 0
        chart = cli("report", "top-products", "--by", by, "--format", "svg").out
        assert {over, headed} <= {*_written_on(chart)}
        longest, shorter = _bars_of(chart)
        assert longest > 3 * shorter


def test_an_axis_of_time_names_days_and_months_that_it_shows(cli: Cli, database: Database, buyer: User) -> None:
    make_product(database, sku="TEA")
    when = [
        datetime(2025 + day // 372, day // 31 % 12 + 1, day % 31 % 28 + 1, 12, tzinfo=UTC) for day in range(279, 310)
    ]
    histories.write(database, [Past(at, buyer.id, "GBP", None, "paid", (Sold("TEA", 1, 1),)) for at in when])
    named = [one for one in _written_on(cli("report", "daily", "--format", "svg").out) if one.startswith("2025")]
    assert named == [f"2025-10-{day:02}" for day in range(1, 29, 4)]
    named = [one for one in _written_on(cli("report", "sales", "--by", "month", "--format", "svg").out) if "-" in one]
    assert named == ["2025-10"]


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", line)


def test_where_nothing_was_sold_it_says_so(cli: Cli) -> None:
    assert cli("report", "revenue").out.splitlines() == ["Revenue by user", "all there is, UTC", "", "nothing"]
    assert json.loads(cli("report", "revenue", "--json").out)["items"] == []


@pytest.mark.usefixtures("march")
def test_spending_takes_an_address_or_an_id(cli: Cli, buyer: User) -> None:
    for user in ("BUYER@example.com", str(buyer.id)):
        told = json.loads(cli("report", "spending", user, "--json").out)
        assert [(one["currency"], one["net"]) for one in told["items"]] == [
            ("GBP", 223_456),
            ("JPY", 1_500),
            ("KWD", 1_005),
        ]
    missing = cli("report", "spending", "nobody@example.com")
    assert (missing.code, missing.err) == (1, "error: there is no user nobody@example.com; see: orderkit users list\n")


def test_the_figures_are_those_of_http(cli: Cli, settings: Settings, database: Database, rng: random.Random) -> None:
    history = histories.make(database, rng, start=datetime(2026, 2, 1, tzinfo=UTC), days=60)
    whose = next(iter(history.users))
    wanted = ("--from", "2026-02-10", "--to", "2026-03-20", "--tz", "Asia/Kathmandu")
    query = "from=2026-02-10&to=2026-03-20&tz=Asia/Kathmandu"
    reports = {
        ("daily",): f"/analytics/orders-per-day?{query}",
        ("revenue",): f"/analytics/revenue-by-user?{query}",
        ("status",): f"/analytics/status-counts?{query}",
        ("top-products",): f"/admin/products/top-selling?{query}",
        ("spending", str(whose)): f"/admin/users/{whose}/spending?{query}",
        ("sales", "--by", "country", "--compare", "previous"): "/admin/sales/report?by=country&compare=previous&"
        "from_date=2026-02-10&to_date=2026-03-20&tz=Asia/Kathmandu",
    }
    with running(settings) as api:
        staff = api.token(make_user(database, role="analyst"))
        for command, path in reports.items():
            said: Any = json.loads(cli("report", *command, *wanted, "--format", "json").out)
            answered = api.get(path, staff).json()
            assert answered["items"]
            for name in ("items", "from", "to", "tz", "source"):
                assert said[name] == answered[name], (command, name)
            assert said.get("previous") == answered.get("previous")
            written = Path("report.csv")
            cli("report", *command, *wanted, "--format", "csv", "-o", str(written))
            separator = "&" if "?" in path else "?"
            assert written.read_bytes() == api.get(f"{path}{separator}format=csv", staff).body


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("--from 2026-03-02 --to 2026-03-01", "--to 2026-03-01: it is before --from 2026-03-02"),
        ("--from 2026-13-01", "--from 2026-13-01: there is no such day"),
        (
            "--from 2026-03-02T00:00:00",
            "--from 2026-03-02T00:00:00: neither a day, as 2026-03-01, nor a time with its zone, "
            "as 2026-03-01T06:00:00Z (RFC 3339)",
        ),
        ("--tz London", "--tz London: no time zone of IANA; there is Europe/London"),
        ("--tz Nowhere", "--tz Nowhere: no time zone of IANA, such as UTC or Europe/London"),
        ("--currency EURO", "--currency EURO: no currency of ISO 4217 that one can pay with, such as GBP"),
        ("--compare previous", "--compare previous needs --from and --to"),
        ("--compare previous --to 2026-04-01", "--compare previous needs --from and --to"),
    ],
)
def test_what_makes_no_sense_is_wrong_use(cli: Cli, wrong: str, said: str) -> None:
    told = cli("report", "sales", *wrong.split())
    assert (told.code, told.err) == (2, f"error: {said}\n")


@on_sqlite  # it is drawn from the figures, which other tests see on both; drawing eleven takes 4 s of CPU
@pytest.mark.usefixtures("march")
def test_a_chart_is_the_same_each_time(cli: Cli) -> None:
    for report in (("daily",), ("revenue",), ("status",), ("sales", "--by", "month"), ("top-products",)):
        cli("report", *report, "--format", "svg", "-o", "one.svg")
        cli("report", *report, "--format", "svg", "-o", "two.svg")
        drawn = Path("one.svg").read_text()
        assert drawn == Path("two.svg").read_text()
        assert ET.fromstring(drawn).tag == "{http://www.w3.org/2000/svg}svg"
    assert ET.fromstring(cli("report", "daily", "--to", "2020-01-01", "--format", "svg").out) is not None


def test_without_matplotlib_a_chart_says_how_to_get_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_chart, "find_spec", lambda _name: None)
    told = cli("report", "daily", "--format", "svg")
    assert (told.code, told.err) == (2, "error: charts need matplotlib; run: pip install 'orderkit[charts]'\n")


@pytest.mark.usefixtures("march")
def test_a_rebuild_puts_right_what_is_wrong(cli: Cli, database: Database) -> None:
    with database.transaction() as session:
        session.connection().execute(text("DELETE FROM rollups"))
        session.connection().execute(text("UPDATE outbox SET sent_at = created_at"))
    assert cli("report", "daily").out.splitlines()[-1] == "nothing"
    assert "put right" in cli("report", "--rebuild").out
    assert "2,000.00" in cli("report", "daily").out
    assert cli("report", "--rebuild").out == "all sums were right\n"
    assert cli("report", "--rebuild", "daily").code == 2


def test_more_than_is_shown_is_told(cli: Cli, database: Database) -> None:
    make_product(database, sku="TEA")
    users = [make_user(database) for _ in range(3)]
    histories.write(database, [Past(at(1), one.id, "GBP", None, "paid", (Sold("TEA", 1, 1),)) for one in users])
    assert cli("report", "revenue", "--limit", "2").err == "there are more: add --limit 20\n"
    assert cli("report", "revenue", "--limit", "3").err == ""


@pytest.mark.usefixtures("march")
@pytest.mark.parametrize("format_", ["csv", "svg"])
def test_what_has_rows_alone_says_on_stderr_where_it_is_from(
    cli: Cli, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    wanted = ("report", "daily", "--format", format_, "-o", str(tmp_path / "out"))
    assert cli(*wanted).err == ""
    monkeypatch.setenv("ORDERKIT_REPLICA_URL", database.url.render_as_string(hide_password=False))
    # The first in ten minutes is logged, too.
    assert cli(*wanted).err.splitlines()[-1] == f"from the replica; warning: {UNTOLD}"
    assert UNTOLD in json.loads(cli("report", "daily", "--json").out)["warning"]
