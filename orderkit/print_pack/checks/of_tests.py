"""Tests of the repository: run here where there is a checkout, else as the coverage evidence tells of the last whole run."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from orderkit.print_pack.checks.checking import Check, Fails, NotChecked, expect
from orderkit.print_pack.checks.site import Site, run
from orderkit.print_pack.evidence import Piece
from orderkit.settings import PREFIX

WITHIN_S = 80.0
LEAST_PERCENT = 70.0

UNIT = ("tests/money/test_money.py", "tests/orders/test_pricing.py", "tests/idempotency/test_rules.py")
INTEGRATION = (
    "tests/orders/test_placement.py::test_an_order_is_written_with_its_lines_its_payment_and_less_stock",
    "tests/api/test_orders.py::test_a_paid_order_answers_201_with_all_its_members",
)
IDEMPOTENCY = (
    "tests/idempotency/test_claims.py",
    "tests/api/test_orders.py::test_a_replayed_key_returns_the_first_response",
    "tests/api/test_orders.py::test_fifty_at_once_with_one_key_are_one_order",
)
WORKER = (
    "tests/fulfillment/test_shipping.py::test_booked_parcel_ships_its_order_with_history_event_and_tracking_number",
    "tests/fulfillment/test_shipping.py::test_failed_booking_is_retried_within_the_backoff",
    "tests/fulfillment/test_shipping.py::test_attempts_used_up_make_a_dead_letter_with_all_of_them",
    "tests/worker/test_due.py::test_paid_order_is_shipped_turn_by_turn",
)
ROLLBACK = (
    "tests/db/test_transactions.py::test_what_a_transaction_wrote_is_gone_when_it_raises",
    "tests/orders/test_placement.py::test_what_is_refused_keeps_nothing_and_does_not_use_up_its_key",
)
REGRESSION = ("tests/regressions/test_lost_commits.py",)
ISOLATED = (
    "tests/architecture/test_harness.py"
    "::test_a_test_knows_nothing_of_the_shell_or_of_the_test_before_it_is_marked_and_can_be_repeated",
)
RULES = ("tests/architecture/test_rules.py",)


async def outcomes(root: Path, ids: Sequence[str]) -> Mapping[str, bool]:
    """Runs those tests, on SQLite, and says of each whether it passed. Raises NotChecked where pytest cannot."""
    with TemporaryDirectory(prefix="orderkit-checks-") as folder:
        report = Path(folder) / "report.xml"
        command = ("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", "not postgresql")
        options = ("-o", "junit_family=xunit1", f"--junitxml={report}")
        ran = await run(sys.executable, *command, *options, *ids, cwd=root, env=_environment(root))
        if not report.exists():
            last = (ran.err or ran.out).strip().splitlines()[-1:] or ["it said nothing"]
            raise NotChecked(f"pytest did not run: {last[0]}")
        return read_report(report.read_text(encoding="utf-8"))


def _environment(root: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return ours | {"PYTHONPATH": os.pathsep.join([str(root), *filter(None, [ours.get("PYTHONPATH")])])}


def read_report(xml: str) -> Mapping[str, bool]:
    """Whether each test passed in all its cases, by id without the case; one that was skipped did not pass."""
    found: dict[str, bool] = {}
    for case in ElementTree.fromstring(xml).iter("testcase"):  # noqa: S314 - written by our own pytest
        name = f"{case.get('file')}::{str(case.get('name')).partition('[')[0]}"
        passed = not any(case.find(end) is not None for end in ("failure", "error", "skipped"))
        found[name] = found.get(name, True) and passed
    return found


def judged(found: Mapping[str, bool], ids: Sequence[str]) -> str:
    """What is said of tests that all passed. Raises Fails for one that did not, NotChecked for one that did not run."""
    count = 0
    for wanted in ids:
        ran = {name: ok for name, ok in found.items() if name == wanted or name.startswith(f"{wanted}::")}
        if not ran:
            raise NotChecked(f"{wanted} did not run")
        failed = [name for name, ok in ran.items() if not ok]
        if failed:
            raise Fails(f"{failed[0]} failed")
        count += len(ran)
    return f"{count} {'test' if count == 1 else 'tests'} passed"


def judged_by_run(piece: Piece, ids: Sequence[str]) -> str:
    """The same where there are no tests, by the whole run that made the coverage evidence: it counts by folder."""
    failed, folders = int(piece.data["failed"]), piece.data["folders"]
    expect(failed == 0, f"{failed} tests failed on {piece.commit}")
    for folder in dict.fromkeys(Path(one).parts[1] for one in ids):
        if not folders.get(folder):
            raise NotChecked(f"no test of tests/{folder} ran on {piece.commit}")
    return f"all {piece.data['passed']:,} tests passed on {piece.commit}, among them these"


def _passed(name: str, shows: str, ids: tuple[str, ...]) -> Check:
    async def look(site: Site) -> str:
        if site.outcomes is not None:
            return judged(site.outcomes, ids)
        if site.coverage is not None and not site.has_tests:
            return judged_by_run(site.coverage, ids)
        raise NotChecked(site.why_no_tests)

    return Check(name, shows, look, ids)


async def _coverage(site: Site) -> str:
    piece = site.coverage
    if piece is None:
        raise NotChecked("there is no coverage evidence yet; run ./check")
    percent = float(piece.data["percent"])
    expect(percent >= LEAST_PERCENT, f"{percent:.0f} % of the domains' lines were run, less than {LEAST_PERCENT:.0f}")
    return f"{percent:.0f} % of the domains' lines ({piece.commit})"


CHECKS = (
    _passed("tests.unit", "Unit tests of the business rules: money, prices, idempotency.", UNIT),
    _passed("tests.integration", "Integration tests place orders in a database and over HTTP.", INTEGRATION),
    _passed("tests.idempotency", "Integration tests of idempotency, also of many requests at once.", IDEMPOTENCY),
    _passed("tests.worker", "Integration tests of the worker's success and failure.", WORKER),
    _passed("tests.rollback", "A transaction that raises leaves nothing behind.", ROLLBACK),
    _passed("tests.regression", "A bug that was found keeps a test that tells its story.", REGRESSION),
    _passed(
        "tests.isolated", "Tests know nothing of each other, and any failure can be repeated by its seed.", ISOLATED
    ),
    _passed("tests.rules", "Rules of the architecture are tests.", RULES),
    Check(
        "tests.coverage",
        "At least 70 % of the business logic is covered.",
        _coverage,
        ("pyproject.toml", "docs/development.md"),
    ),
)
