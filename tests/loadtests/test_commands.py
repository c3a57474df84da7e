"""The load tests' commands, for a second each: that they still fit the schema, and what they make of what they see."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from loadtests import lists, report, reports, rollup_cost, seeding
from loadtests.against_pgbench import Round, verdict
from loadtests.buyers import Takings
from loadtests.one_order import Written
from loadtests.report import Run, markdown
from loadtests.rollup_cost import Half
from loadtests.seeding import Seeding
from loadtests.stack import Counts
from tests.processes import completed

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 90

TOLD = {
    "placed": 3,
    "pieces": 5,
    "replayed": 1,
    "seconds": 2.0,
    "routes": [
        {"method": "POST", "name": "/orders", "requests": 3, "failures": 0, "p50": 4.0, "p95": 9.0, "p99": 12.0},
        {"method": "GET", "name": "/orders/{id}", "requests": 7, "failures": 0, "p50": 1.0, "p95": 2.0, "p99": 3.0},
    ],
    "errors": [],
}
KEPT = Counts(orders=3, paid=3, captured=3, answered=3, events=3, taken=5)
RUN = Run("SQLite", 2, datetime(2026, 11, 21, 12, tzinfo=UTC), TOLD, api_cpu=0.01, kept=KEPT)


def run(command: str, *options: str, within_s: float = WITHIN_S) -> subprocess.CompletedProcess[str]:
    """`python -m loadtests.…`, but for importing what it measures."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return completed(options, env, Path.cwd(), module=f"loadtests.{command}", within_s=within_s)


def measure(
    *options: str, command: str = "against_pgbench", within_s: float = WITHIN_S
) -> subprocess.CompletedProcess[str]:
    return run(command, "--seconds", "1", "--rounds", "1", "--clients", "4", *options, within_s=within_s)


@pytest.mark.integration
@pytest.mark.parametrize("options", [("--sqlite",), ("--hot",)], ids=["sqlite", "postgresql, one hot product"])
def test_orders_are_measured_and_each_answer_is_found_in_the_database(options: tuple[str, ...]) -> None:
    done = measure(*options, "--at-least", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert "the same" in done.stdout
    assert "fsync=on, synchronous_commit=on" in done.stdout or "synchronous=FULL" in done.stdout


@pytest.mark.integration
def test_orders_amid_logins_are_measured_and_nobody_is_refused() -> None:
    done = measure("--sqlite", "--at-most", "1000", command="logins")
    assert (done.returncode, done.stderr) == (0, "")
    assert "'login 200'" in done.stdout
    assert "median: B/A" in done.stdout


@pytest.mark.integration
def test_the_cost_of_rollups_is_measured_on_orders_that_they_count_once() -> None:
    done = measure("--rate", "10", "--at-most", "1000", command="rollup_cost", within_s=3 * WITHIN_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^ +1 with +\d+ ", done.stdout, re.MULTILINE)
    assert "times the CPU" in done.stdout


def test_rollups_that_have_an_order_twice_are_not_good_at_any_price(capsys: pytest.CaptureFixture[str]) -> None:
    without, with_ = Half(10, 1.0, 1.0, 1.0, counted=0), Half(10, 1.0, 1.2, 1.0, counted=10)
    assert rollup_cost.verdict([(without, with_)], 1.10) == 0
    assert rollup_cost.verdict([(without, with_)], 1.05) == 1
    assert "dearer than wanted: 1.07 > 1.05" in capsys.readouterr().err
    assert rollup_cost.verdict([(without, replace(with_, counted=11))], 2) == 1
    assert rollup_cost.verdict([(replace(without, counted=1), with_)], 2) == 1


@pytest.mark.integration
@pytest.mark.parametrize("options", [("--sqlite",), ()], ids=["sqlite", "postgresql"])
def test_a_seed_is_measured_next_to_a_copy_of_its_rows(options: tuple[str, ...]) -> None:
    done = run("seeding", "--orders", "300", "--days", "9", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(
        r"^seed +300 orders in [\d.]+ s · [\d,]+ orders/s · CPU an order: .+ MiB$", done.stdout, re.MULTILINE
    )
    assert ("times as fast" in done.stdout) == (not options)


def test_a_seed_that_is_too_slow_or_too_large_or_lacks_a_row_is_not_good(capsys: pytest.CaptureFixture[str]) -> None:
    run = Seeding(20_000, 2.0, command=1.0, database=1.0, memory=200.0, complete=True)
    assert seeding.verdict(run, 1.0, 10_000) == 0
    assert "0.50 times as fast" in capsys.readouterr().out
    assert seeding.verdict(run, None, 10_001) == 1
    assert "slower than wanted: 10,000 < 10,001" in capsys.readouterr().err
    assert seeding.verdict(replace(run, memory=513.0), None, 0) == 1
    assert seeding.verdict(replace(run, complete=False), None, 0) == 1


@pytest.mark.integration
def test_reports_are_timed_among_few_and_many_and_tell_what_a_group_by_tells() -> None:
    sizes = ("--few", "100", "--many", "300", "--users", "20", "--times", "2")
    bounds = ("--at-most", "1000", "--at-least", "0", "--at-least-utc", "0")
    done = run("reports", *sizes, *bounds, within_s=2 * WITHIN_S)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(re.findall(r"^revenue by user, whole months( +[\d.]+){3}$", done.stdout, re.MULTILINE)) == 2
    assert len(re.findall(r"^America/New_York( +[\d.]+){3}$", done.stdout, re.MULTILINE)) == 2


def test_a_report_that_grows_with_the_orders_is_not_good() -> None:
    chosen = Namespace(few=10, many=100, times=1, at_most=1.5)
    found = [{"by day": 2.0, "by month": 1.0}, {"by day": 3.2, "by month": 1.5}]
    said: list[str] = []
    assert reports.growth(found, chosen, said.append) == [
        "by day: 1.60 times as slow among 10 times the orders, 1.5 wanted"
    ]
    assert [line.split()[-1] for line in said] == ["ratio", "1.60", "1.50"]


@pytest.mark.integration
@pytest.mark.parametrize("options", [(), ("--postgresql",)], ids=["sqlite", "postgresql"])
def test_each_list_of_orders_is_timed_among_few_and_among_many(options: tuple[str, ...]) -> None:
    done = run("lists", "--few", "40", "--many", "80", "--times", "1", *options)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line for line in done.stdout.splitlines() if line.startswith(tuple(case.name for case in lists.CASES))]
    assert len(rows) == len(lists.CASES)
    assert all(re.search(r"  +[\d.]+ \([ \d]+\) +[\d.]+ \([ \d]+\) +[\d.]+$", row) for row in rows)


def a_round(*, least: float, orders: int = 100, kept: int = 100) -> Round:
    """Ten seconds of `orders`, next to `least` a second."""
    counts = Counts(orders=kept, paid=kept, captured=kept, answered=kept, events=kept, taken=kept)
    return Round(Written(int(10 * least), least), Takings(10.0, {"201": orders}), cpu=0.0006, kept=counts)


def test_the_verdict_is_on_the_median_of_the_rounds(capsys: pytest.CaptureFixture[str]) -> None:
    rounds = [a_round(least=least) for least in (20, 40, 1000)]
    assert verdict(rounds, 0.25) == 0
    assert "B/A 0.25" in capsys.readouterr().out
    assert verdict(rounds, 0.26) == 1
    assert "slower than wanted" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        a_round(least=10, kept=99),
        a_round(least=10, kept=101),
        replace(a_round(least=10), taken=Takings(10.0, {"201": 100, "503": 1})),
        replace(a_round(least=10), taken=Takings(10.0, {"201": 100}, lost=1)),
    ],
    ids=["lost", "doubled", "refused", "unanswered"],
)
def test_no_speed_makes_up_for_an_order_that_went_wrong(wrong: Round, capsys: pytest.CaptureFixture[str]) -> None:
    right = a_round(least=10)
    assert verdict([right, right, right], 0.25) == 0
    assert verdict([right, wrong, right], 0.25) == 1
    assert "differ" in capsys.readouterr().err


def test_a_report_says_who_did_what_and_that_the_counts_agree() -> None:
    text = markdown(RUN)
    assert "| POST /orders | 3 | 0 | 4 | 9 | 12 |" in text
    assert "3 placed and paid (2 a second), 1 sent again and replayed" in text
    assert "| pieces taken from stock | 5 | 5 |" in text
    assert "They agree." in text


@pytest.mark.parametrize("counted", ["orders", "paid", "captured", "answered", "events", "taken"])
def test_a_report_does_not_agree_when_anything_is_lost_or_doubled(counted: str) -> None:
    for wrong in (getattr(KEPT, counted) - 1, 2 * getattr(KEPT, counted)):
        run = replace(RUN, kept=replace(KEPT, **{counted: wrong}))
        assert not run.agrees
        assert "They do not agree." in markdown(run)


def test_without_locust_a_report_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "find_spec", lambda _name: None)
    monkeypatch.setattr(sys, "argv", ["report"])
    with pytest.raises(SystemExit, match="pip install"):
        report.main()
