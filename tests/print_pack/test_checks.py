"""The checks of the print pack hold on a stack that is well, and each of them fails on one that is not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import text

from orderkit.db import Database
from orderkit.demo.customers import Login, Reply
from orderkit.demo.evidence import Facts, Ledger, Money, Stock
from orderkit.print_pack import stamps
from orderkit.print_pack.checks import of_observability, of_pages, of_tests, running
from orderkit.print_pack.checks.checking import Check, Fails, NotChecked
from orderkit.print_pack.checks.running import Result, judge, run
from orderkit.print_pack.checks.site import Live, Person, Ran, Site, Where
from orderkit.print_pack.checks.table import CHECKS
from orderkit.print_pack.evidence import Piece
from orderkit.settings import Settings

INDEX = "ix_orders_user_id_created_at"
OF_DATABASE = (
    "database.schema",
    "database.models",
    "database.order_indexes",
    "database.indexes",
    "database.plans",
    "reports.indexes",
)
WRITTEN = [check.name for check in of_pages.CHECKS] + ["metrics.alerts"]
"""Those that look at pages."""
OF_CODE = ("database.why_indexes",)
"""What only a change of the code can break."""
LIVE = [
    name
    for name, check in CHECKS.items()
    if check not in of_tests.CHECKS and name not in (*OF_DATABASE, *WRITTEN, *OF_CODE)
]


@pytest.fixture
def engine_name() -> str:
    """One engine will do: what plans say is tested on both."""
    return "sqlite"


def piece(name: str, data: Any) -> Piece:
    return Piece(name, datetime(2026, 3, 1, tzinfo=UTC), "0123456789", "0.1.0", "a machine", "a command", data)


COVERAGE = piece("coverage", {"percent": 91.0, "failed": 0, "passed": 9, "folders": {"money": 4, "orders": 5}})
DEMO = piece("demo", {"text": "", "counts": {"checks": [{"what": "captures", "holds": True}]}})


def judged(check: Check, where: Site) -> Result:
    return asyncio.run(judge(check, where))


# ── a stack that is well ─────────────────────────────────────────────────────────────────────────────────────────────


def test_all_hold_on_a_stack_that_is_well(tmp_path: Path) -> None:
    """All but those that run tests, as this one is itself, and what is not there yet."""
    wanted = [name for name, check in CHECKS.items() if check not in of_tests.CHECKS] + ["tests.coverage"]
    told: list[str] = []
    nowhere = Settings(_env_file=None, home=tmp_path / "none")
    found = run(nowhere, evidence={"coverage": COVERAGE, "demo": DEMO}, only=wanted, each=told.append)
    wrong = {name: result["said"] for name, result in found.items() if not result["ok"]}
    assert wrong == {"assistant": "not checked: not yet: the assistant is not written"}
    assert list(found) == wanted
    assert sorted(told) == sorted(wanted)
    assert not (tmp_path / "none").exists(), "nothing is made where the user keeps things"


def test_tests_are_run_and_told_of_one_by_one() -> None:
    ids = ["tests/money/test_money.py", "tests/idempotency/test_rules.py::test_method_and_path_count"]
    found = asyncio.run(of_tests.outcomes(stamps.ROOT, ids))
    assert found["tests/idempotency/test_rules.py::test_method_and_path_count"] is True
    assert len(found) > 5
    assert set(found.values()) == {True}
    assert of_tests.judged(found, ids) == f"{len(found)} tests passed"


# ── stacks that are not ──────────────────────────────────────────────────────────────────────────────────────────────


class Pretender(Live):
    """A stack that gives every request the same answer, whatever it is, and does nothing else."""

    def __init__(self, home: Path, status: int, body: Any) -> None:
        self.home = home
        self.processes = cast(Any, SimpleNamespace(environment={"ORDERKIT_HOME": str(home)}))
        self.database_file = home / "orderkit.db"
        self.api = self.simulator = self.worker = "http://127.0.0.1:9"
        self.sku = "CHECK-001"
        self.staff = Person(Login("staff@check.example", "a password"), "", "a token")
        self._reply = Reply(status, {}, body)

    async def ask(self, method: str, path: str, who: Person | None = None, **sent: Any) -> Reply:
        return self._reply

    async def customer(self, name: str = "customer") -> Person:
        return Person(Login("c@check.example", "a password"), "1", "a token")

    async def product(self, sku: str, *, stock: int = 1000, currency: str = "GBP") -> None:
        return None

    async def command(self, *arguments: str, stdin: str = "", **settings: str) -> Ran:
        return Ran(0, "", "")

    async def rows(self, statement: str, **values: object) -> list[Any]:
        return [SimpleNamespace(password_hash="a password", told=1, version=2, orders=0, events=1)]

    def lines(self, process: str) -> Iterator[dict[str, Any]]:
        return iter([{"at": "now"}])


ANSWERS: dict[str, tuple[int, Any]] = {
    "yes to all": (200, {}),
    "an order to all": (
        201,
        {
            "id": "1",
            "status": "paid",
            "total": 1,
            "version": 1,
            "items": [],
            "next_cursor": None,
            "payment": {"id": "1", "status": "captured", "provider_reference": "r", "refunded": 0},
            "captures": [],
            "refunds": [],
            "bookings": [],
        },
    ),
    "a text to all": (200, "orderkit"),
    "an error to all": (500, {"code": "internal_error", "detail": "", "errors": []}),
    "nobody may": (401, {"code": "unauthenticated", "detail": ""}),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_every_check_of_the_stack_fails_where_it_answers_wrongly(
    tmp_path: Path, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = Site(Settings(_env_file=None, home=tmp_path), stack=Pretender(tmp_path, *ANSWERS[answer]))

    async def all_of_them() -> list[Result]:
        return await asyncio.gather(*(judge(replace(CHECKS[name], within_s=1.5), where) for name in LIVE))

    for process in ("serve", "worker", "simulate"):
        (tmp_path / f"{process}.log").write_text("a token", encoding="utf-8")
    found = dict(zip(LIVE, asyncio.run(all_of_them()), strict=True))
    assert [name for name, result in found.items() if result["ok"]] == []
    assert all(result["said"] and "\n" not in result["said"] for result in found.values())


def test_without_a_stack_each_says_why(tmp_path: Path) -> None:
    where = Site(Settings(_env_file=None, home=tmp_path), why_not_live="the stack did not start: no room")
    for name in LIVE:
        assert judged(CHECKS[name], where) == {"ok": False, "said": "the stack did not start: no room"}, name


def test_a_stack_that_does_not_start_is_told_and_the_rest_is_checked(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the database of the installation is looked at, where an index is gone."""
    with database.transaction() as session:
        session.connection().execute(text(f"DROP INDEX {INDEX}"))
    monkeypatch.setattr(running, "PACE", {"ORDERKIT_DB_TIMEOUT": "never"})
    found = run(
        settings, only=["app.serves", "database.indexes", "database.plans", "database.schema", "pages.decisions"]
    )
    assert {name: result["ok"] for name, result in found.items()} == {
        "app.serves": False,
        "database.indexes": False,
        "database.plans": False,
        "database.schema": True,
        "pages.decisions": True,
    }
    assert "ORDERKIT_DB_TIMEOUT" in found["app.serves"]["said"]
    assert found["database.indexes"]["said"] == f"the database of this installation lacks {INDEX}"
    assert INDEX in found["database.plans"]["said"]


# ── the user's database ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_database_that_is_well_ticks_all_that_concerns_it(database: Database, settings: Settings) -> None:
    where = Site(settings, database=database)
    assert [name for name in OF_DATABASE if not judged(CHECKS[name], where)["ok"]] == []


@pytest.mark.parametrize(
    ("statement", "broken"),
    [
        (f"DROP INDEX {INDEX}", {"database.order_indexes", "database.indexes", "database.plans"}),
        ("DROP INDEX ix_outbox_unsent", {"database.indexes", "database.plans"}),
        ("UPDATE alembic_version SET version_num = '0004'", {"database.schema"}),
        ("DROP TABLE rollups", {"database.plans", "database.indexes", "reports.indexes"}),
        ("ALTER TABLE orders RENAME TO orders_of_before", {"database.models", "database.plans"}),
    ],
)
def test_what_is_broken_in_the_database_is_not_ticked(
    database: Database, settings: Settings, statement: str, broken: set[str]
) -> None:
    with database.transaction() as session:
        session.connection().execute(text(statement))
    where = Site(settings, database=database)
    found = {name for name in OF_DATABASE if not judged(CHECKS[name], where)["ok"]}
    assert broken <= found
    assert len(found) < len(OF_DATABASE)


def test_without_any_database_nothing_is_claimed_of_one(settings: Settings) -> None:
    for name in OF_DATABASE:
        assert judged(CHECKS[name], Site(settings)) == {
            "ok": False,
            "said": "not checked: there is no database to look at",
        }


# ── pages, tests and evidence ────────────────────────────────────────────────────────────────────────────────────────


def test_pages_that_are_not_there_are_not_checked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(name: str) -> Path:
        raise FileNotFoundError(name)

    for module in (of_pages, of_observability):
        monkeypatch.setattr(module, "asset", missing)
    monkeypatch.setattr(
        of_pages, "metadata", lambda _name: SimpleNamespace(get=lambda _n: None, get_payload=lambda: None)
    )
    for name in WRITTEN:
        if name != "pages.diagrams":
            found = judged(CHECKS[name], Site(settings, stack=Pretender(tmp_path, 200, {})))
            assert not found["ok"], name
            assert found["said"].startswith("not checked: "), (name, found)


def test_pages_that_say_nothing_do_not_hold(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.write_text("# Nothing\n", encoding="utf-8")
    for module in (of_pages, of_observability):
        monkeypatch.setattr(module, "asset", lambda name: tmp_path if name == "docs/decisions" else empty)
    where = Site(settings, stack=Pretender(tmp_path, 200, {"paths": {}}))
    for name in (
        "pages.readme",
        "pages.decisions",
        "pages.why_indexes",
        "pages.trade_offs",
        "pages.runbook",
        "pages.interview",
        "pages.deployment",
        "pages.pipeline",
        "pages.contract",
        "metrics.alerts",
    ):
        found = judged(CHECKS[name], where)
        assert not found["ok"], name
        assert not found["said"].startswith("not checked"), (name, found)


def test_the_contract_is_compared_line_by_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "committed").write_text("openapi: 3.1.0\npaths: {}\n", encoding="utf-8")
    (tmp_path / "openapi.json").write_text('{"paths": {}}', encoding="utf-8")
    monkeypatch.setattr(of_pages, "asset", lambda _name: tmp_path / "committed")
    where = Site(settings, stack=Pretender(tmp_path, 200, {"paths": {}}))
    for made, ok in (("openapi: 3.1.0\npaths: {}\n", True), ("openapi: 3.1.0\npaths: {a: b}\n", False), ("", False)):
        (tmp_path / "openapi.yaml").write_text(made, encoding="utf-8")
        assert judged(CHECKS["pages.contract"], where)["ok"] is ok
    (tmp_path / "openapi.json").write_text('{"paths": {"/new": {}}}', encoding="utf-8")
    assert judged(CHECKS["pages.contract"], where)["said"] == "what is served is not what orderkit openapi prints"


def test_a_diagram_that_is_no_picture_or_cannot_be_drawn(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def cannot() -> str:
        raise ImportError("no Graphviz")

    for drawn, said in (
        (dict.fromkeys(of_pages.DIAGRAMS, lambda: "<svg>"), "the diagram erd is no picture"),
        ({"erd": lambda: "<svg></svg>"}, "there is no diagram states"),
        (dict.fromkeys(of_pages.DIAGRAMS, cannot), "not checked: diagrams cannot be drawn here (no Graphviz)"),
    ):
        monkeypatch.setattr(of_pages, "import_module", lambda _name, drawn=drawn: SimpleNamespace(DIAGRAMS=drawn))
        found = judged(CHECKS["pages.diagrams"], Site(settings))
        assert (found["ok"], found["said"].partition(";")[0]) == (False, said)


def test_evidence_that_is_missing_or_falls_short_ticks_nothing(settings: Settings) -> None:
    short = replace(COVERAGE, data=COVERAGE.data | {"percent": 69.4})
    wrong = replace(DEMO, data={"counts": {"checks": [{"what": "captures", "holds": False}]}})
    for name, where, said in (
        ("tests.coverage", Site(settings), "not checked: there is no coverage evidence yet; run ./check"),
        ("tests.coverage", Site(settings, coverage=short), "69 % of the domains' lines were run, less than 70"),
        ("pages.one_command", Site(settings, demo=wrong), "the demo's counts do not agree: captures"),
        (
            "pages.one_command",
            Site(settings),
            "not checked: there is no demo evidence yet; run: orderkit print-pack --collect",
        ),
    ):
        assert judged(CHECKS[name], where) == {"ok": False, "said": said}


REPORT = """<testsuites><testsuite>
<testcase file="tests/a/test_a.py" name="test_x[1]"/><testcase file="tests/a/test_a.py" name="test_x[2]"><failure/></testcase>
<testcase file="tests/a/test_a.py" name="test_y"/><testcase file="tests/a/test_a.py" name="test_z"><skipped/></testcase>
</testsuite></testsuites>"""


def test_a_test_passed_if_all_its_cases_did() -> None:
    found = of_tests.read_report(REPORT)
    assert found == {f"tests/a/test_a.py::test_{name}": name == "y" for name in "xyz"}
    assert of_tests.judged(found, ["tests/a/test_a.py::test_y"]) == "1 test passed"
    for wanted, error in (
        (["tests/a/test_a.py"], Fails),
        (["tests/a/test_a.py::test_x"], Fails),
        (["tests/a/test_a.py::test_z"], Fails),
        (["tests/a/test_a.py::test_n"], NotChecked),
    ):
        with pytest.raises(error):
            of_tests.judged(found, wanted)


def test_without_tests_the_run_that_made_the_coverage_counts(settings: Settings) -> None:
    """And with tests that did not run it does not."""
    unit, failed = CHECKS["tests.unit"], replace(COVERAGE, data=COVERAGE.data | {"failed": 2})
    whole = replace(COVERAGE, data=COVERAGE.data | {"folders": {"money": 1, "orders": 1, "idempotency": 1}})
    assert judged(unit, Site(settings, coverage=whole))["ok"]
    assert judged(unit, Site(settings, coverage=failed))["said"] == "2 tests failed on 0123456789"
    assert judged(unit, Site(settings, coverage=COVERAGE))["said"].startswith(
        "not checked: no test of tests/idempotency"
    )
    assert not judged(unit, Site(settings, coverage=whole, has_tests=True))["ok"]
    assert not judged(unit, Site(settings))["ok"]


# ── the run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def looking(act: Callable[[], object], within_s: float = 5.0) -> Check:
    async def look(_site: Site) -> str:
        told = act()
        return str(await told if asyncio.iscoroutine(told) else told)

    return Check("x", "X.", look, (), within_s=within_s)


def raising(error: Exception) -> Callable[[], object]:
    def act() -> object:
        raise error

    return act


@pytest.mark.parametrize(
    ("check", "said"),
    [
        (looking(lambda: "seen\n twice"), "seen twice"),
        (looking(raising(Fails("not so"))), "not so"),
        (looking(raising(NotChecked("nothing there"))), "not checked: nothing there"),
        (looking(raising(KeyError("id"))), "KeyError: 'id'"),
        (looking(raising(ZeroDivisionError("x" * 999))), f"ZeroDivisionError: {'x' * 200}…"),
        (looking(lambda: asyncio.sleep(60), within_s=0.05), "took longer than 0.05 s"),
    ],
)
def test_whatever_a_check_does_is_one_line(settings: Settings, check: Check, said: str) -> None:
    assert judged(check, Site(settings)) == {"ok": said == "seen twice", "said": said}


def test_a_run_ends_when_its_time_is_over(settings: Settings) -> None:
    found = run(settings, only=["app.serves", "pages.decisions"], within_s=0.2)
    assert {result["said"] for result in found.values()} == {"not checked: it was not its turn within 0.2 s"}


def money(key: str) -> Money:
    return Money(key, f"ref-{key}", 100, "GBP")


def test_books_that_do_not_agree_are_told() -> None:
    from orderkit.print_pack.checks.of_worker import disagreement

    nothing = (0, 0, 0, 0, 0, 0)
    facts = Facts((), (money("a"),), (Money("s", None, 1, "GBP"),), (), (Stock("TEA", 2, 0, 2),), *nothing)  # type: ignore[arg-type]
    assert disagreement(facts, Ledger((money("a"),), (), ())) == ""
    assert disagreement(facts, Ledger((money("a"), money("a")), (), ())) == "the provider took money twice under a"
    assert (
        disagreement(facts, Ledger((money("b"),), (), ())) == "captures: 1 only in the database, 1 only at the provider"
    )
    assert "refunds" in disagreement(facts, Ledger((money("a"),), (money("r"),), ()))
    oversold = replace(facts, stock=(Stock("TEA", 2, -1, 3),))
    assert disagreement(oversold, Ledger((money("a"),), (), ())) == "TEA was sold 1 times more than there were"


def test_ports_of_a_stack_are_three() -> None:
    assert len(set(Where.free())) == 3
