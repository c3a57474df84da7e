"""`orderkit logs`: one order's way, lines by what they say, and the queries of the page about logs."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
ORDER, OTHER = "01a1ff1e-5e66-735f-ad12-83b0ad94d44b", "01a1ff1e-5e66-735f-ad12-000000000002"
USER = "01a1ff1e-0000-7000-8000-000000000001"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def line(second: int, process: str, message: str, **facts: Any) -> str:
    at = f"2026-11-22T10:00:{second:02}.000000+00:00"
    return json.dumps({"at": at, "level": "INFO", "logger": "x", "process": process, "message": message} | facts)


PLACED: dict[str, Any] = {"request_id": "r1", "trace_id": TRACE, "order_id": ORDER, "user_id": USER}
CHARGE: dict[str, Any] = {"operation": "charge", "provider": "simulator", "key": "p1"}
LOGS = {
    "api.log": [
        line(1, "api", "simulator charge: unknown", attempt=1, outcome="unknown", detail="timed out", ms=500, **CHARGE, **PLACED),
        line(3, "api", "simulator charge: captured", attempt=2, outcome="captured", ms=20, **CHARGE, **PLACED),
        line(4, "api", "POST /orders 201", method="POST", route="/orders", status=201, ms=620.5, **PLACED),
        line(5, "api", "POST /orders 201", route="/orders", status=201, ms=4.0, request_id="r2", trace_id=TRACE, order_id=OTHER),
        line(6, "api", "POST /orders 409", route="/orders", status=409, ms=3.0, code="out_of_stock", request_id="r3"),
        line(7, "api", "GET /products 500", route="/products", status=500, ms=9.0, code="internal_error", request_id="r4"),
        line(8, "api", "a slow query", query="orders.by_time", milliseconds=900.0, request_id="r4"),
        line(8, "api", "gateway fails", breaker="gateway", state="open"),
        "not JSON at all {",
    ],
    "worker.log": [
        line(9, "worker", "event order.paid relayed", event="order.paid", waited_ms=120.5, trace_id=TRACE, order_id=ORDER),
        line(11, "worker", "simulator book: booked", operation="book", key="f1", attempt=1, ms=30, order_id=ORDER),
        line(12, "worker", "given up, a dead letter: status 500", level="WARNING", order_id=OTHER, trace_id=TRACE),
        line(13, "worker", "refund refused", level="ERROR", order_id=OTHER),
    ],
    "simulator.log": [
        line(2, "simulator", "gateway charge: captured", key="p1", trace_id=TRACE, request_id="r1"),
        line(10, "simulator", "carrier book: booked", key="f1", trace_id=TRACE, order_id=ORDER),
        line(11, "simulator", "carrier book: booked", key="f2", trace_id=TRACE, order_id=OTHER),
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _logs() -> None:
    for name, lines in LOGS.items():
        # As a collector writes them, who puts a name before each.
        Path(name).write_text("".join(f"{name} | {one}\n" for one in lines), encoding="utf-8")


def told(cli: Cli, *arguments: str, stdin: str = "") -> list[dict[str, Any]]:
    done = cli("logs", *arguments, "--json", stdin=stdin)
    assert done.code in (0, 1), done.err
    found: list[dict[str, Any]] = json.loads(done.out)
    assert done.code == (0 if found else 1)
    return found


@pytest.mark.parametrize("wanted", ["r1", ORDER])
def test_a_request_s_id_and_its_order_s_tell_the_same_journey_in_order_of_time(cli: Cli, wanted: str) -> None:
    found = told(cli, wanted, *LOGS)
    assert [one["message"] for one in found] == [
        "simulator charge: unknown",
        "gateway charge: captured",
        "simulator charge: captured",
        "POST /orders 201",
        "event order.paid relayed",
        "carrier book: booked",
        "simulator book: booked",
    ]
    assert OTHER not in {one.get("order_id") for one in found}


def test_logs_that_come_through_a_pipe_are_read_as_well(cli: Cli) -> None:
    os.mkfifo("pipe")
    writing = Thread(target=Path("pipe").write_text, args=(Path("api.log").read_text(encoding="utf-8"),))
    writing.start()
    through_pipe = told(cli, "r1", "pipe")
    writing.join()
    assert through_pipe == told(cli, "r1", "api.log") != []


def test_lines_of_other_programs_that_look_alike_are_passed_over(cli: Cli) -> None:
    foreign = [
        {"at": "soon", "message": "m", "order_id": ORDER},
        {"at": "2026-11-22T10:00:02", "message": "m", "order_id": ORDER},
        {"at": "2026-11-22T10:00:02Z", "message": "m", "order_id": [ORDER]},
        {"at": 7, "message": "m", "order_id": ORDER},
    ]
    Path("foreign.log").write_text("".join(f"{json.dumps(one)}\n" for one in foreign), encoding="utf-8")
    assert told(cli, ORDER, "foreign.log", *LOGS) == told(cli, ORDER, *LOGS)


def test_people_get_a_table_that_cannot_command_their_terminal(cli: Cli) -> None:
    Path("evil.log").write_text(line(1, "api", "said \x1b[2J\nand", order_id=ORDER) + "\n", encoding="utf-8")
    done = cli("logs", ORDER, "evil.log", "worker.log")
    assert done.code == 0
    heads = ["at", "after_ms", "process", "what", "attempt", "ms", "order_id", "request_id", "more"]
    assert done.out.splitlines()[0].split() == heads
    cells = re.split(r"\s{2,}", done.out.splitlines()[-1])
    assert cells == ["2026-11-22T10:00:11.000", "10000", "worker", "simulator book: booked", "1", "30", ORDER, "key=f1"]
    assert "\x1b" not in done.out
    assert r"said \x1b[2J\nand" in done.out


@pytest.mark.usefixtures("narrow_terminal")
@pytest.mark.parametrize("columns", [80, 120])
def test_a_terminal_shows_every_id_whole_and_what_was_asked_about(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    journey = cli("logs", ORDER, *LOGS).out
    assert re.search(f"^order_id +{ORDER}$", journey, re.MULTILINE), "once, above"
    assert journey.count(ORDER) == 1
    found = cli("logs", "all", *LOGS, "--where", "status>=200", "--sort", "ms").out
    assert {ORDER, OTHER, TRACE} - set(re.findall(r"order_id=(\S+)", found)) == {TRACE}
    assert re.findall(r"\bstatus=(\d+)", found) == ["201", "500", "201", "409"]
    assert re.findall(r"\bms=(\S+)", found) == ["620.5", "9.0", "4.0", "3.0"]
    for text in (journey, found):
        assert max(map(len, text.splitlines())) <= columns


MANY_IDS = [
    line(0, "api", "POST /orders 201", order_number=1001, payment_id="p1", **PLACED),
    line(20, "worker", "given up, a dead letter: status 500", dead_letter_id="d1", fulfillment_id="f1", order_id=ORDER),
    line(30, "worker", "refund succeeded", refund_id="x1", order_id=ORDER),
]


@pytest.mark.parametrize("wanted", ["1001", "p1", "d1", "f1", "x1"])
def test_each_id_of_what_is_done_for_an_order_and_its_number_find_its_journey(cli: Cli, wanted: str) -> None:
    Path("more.log").write_text("".join(f"{one}\n" for one in MANY_IDS), encoding="utf-8")
    found = told(cli, wanted, "more.log", *LOGS)
    assert len(found) == 10
    assert found == told(cli, ORDER, "more.log", *LOGS)


def test_a_key_that_only_the_provider_names_is_followed_by_the_request(cli: Cli) -> None:
    api = [one for one in LOGS["api.log"] if "p1" not in one]
    Path("api.log").write_text("".join(f"{one}\n" for one in api), encoding="utf-8")
    assert "POST /orders 201" in [one["message"] for one in told(cli, "p1", *LOGS)]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nobody", "api.log"], "nothing about nobody in 8 lines of api, 2026-11-22T10:00:01 to"),
        (["1009", "api.log"], "orderkit orders show NUMBER"),
        (["nobody", "empty.log"], "these logs are empty"),
        (["nobody", "console.log"], "none of 1 lines is one of orderkit's as JSON"),
        ([USER, "api.log"], f"--where 'user_id={USER}'"),
        ([ORDER, "api.log", "--where", "status=500"], f"3 lines are about {ORDER}, and none meets every --where"),
        (["all", "api.log", "--where", "status=418"], "none meets every --where"),
        (["all", "api.log", "--sort", "nothing"], "none has a number for nothing"),
    ],
)
def test_nothing_found_is_exit_code_1_and_says_which_of_the_reasons_it_is(
    cli: Cli, arguments: list[str], reason: str
) -> None:
    Path("empty.log").write_text("", encoding="utf-8")
    Path("console.log").write_text("2026-11-22T10:00:00Z INFO started\n", encoding="utf-8")
    done = cli("logs", *arguments)
    assert (done.code, done.out) == (1, "")
    assert reason in done.err
    assert len(done.err.splitlines()) == 1
    assert told(cli, *arguments) == []


def test_without_a_file_a_terminal_is_not_waited_for(cli: Cli) -> None:
    done = cli("logs", ORDER, terminal=True)
    assert done.code == 2
    assert "name files with logs" in done.err


@pytest.mark.parametrize(
    "wrong", [["r1", "no-such.log"], ["all", "api.log", "--where", "status"], ["all", "--where", "ms>x"]]
)
def test_wrong_use_is_exit_code_2_in_one_line(cli: Cli, wrong: list[str]) -> None:
    done = cli("logs", *wrong)
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


EXPECTED = {
    f"{ORDER} api.log worker.log simulator.log": 7,
    "'status>=500'": 1,
    "'status>=500' --count route": [{"route": "/products", "lines": 1}],
    "'status>=200' --sort ms --limit 10": [620.5, 9.0, 4.0, 3.0],
    "'status>=400' --count code": [{"code": "out_of_stock", "lines": 1}],
    f"'user_id={USER}'": 3,
    "--count detail": [{"detail": "timed out", "lines": 1}],
    "'operation=book' --sort ms --limit 10": [30],
    "'attempt>1' --count operation": [{"operation": "charge", "lines": 1}],
    "'message~dead letter'": 1,
    "'state=open'": 1,
    "--sort waited_ms --limit 10": [120.5],
    "--count query": [{"query": "orders.by_time", "lines": 1}],
    "'at>=2026-11-22T10:00'": 1,
}
"""What each query of the page finds in LOGS, by how it ends: how many lines, what is counted, or what it is sorted by."""


def queries() -> list[str]:
    shell = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
    return [one for one in shell.splitlines() if one and not one.startswith("#")]


def test_every_query_of_the_page_has_an_answer_here() -> None:
    assert [sum(one.endswith(end) for one in queries()) for end in EXPECTED if end != "'status>=500'"] == [1] * 13
    assert len(queries()) == len(EXPECTED)


@pytest.mark.parametrize(("end", "wanted"), EXPECTED.items(), ids=str)
def test_a_query_of_the_page_finds_what_it_says(cli: Cli, end: str, wanted: Any) -> None:
    (query,) = (one for one in queries() if one.endswith(end))
    before, _, command = query.rpartition("| ")
    piped = "".join(Path(name).read_text() for name in before.split()[1:])
    orderkit, logs, *arguments = shlex.split(command)
    assert (orderkit, logs) == ("orderkit", "logs")
    found = told(cli, *arguments, stdin=piped)
    if isinstance(wanted, int):
        assert len(found) == wanted
    elif "--count" in arguments:
        assert found == wanted
    else:
        assert [one[arguments[arguments.index("--sort") + 1]] for one in found] == wanted
    assert cli("logs", *arguments, stdin=piped).code == 0, "as a table, too"
