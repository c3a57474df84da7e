"""`orderkit demo`, from outside: what it says is so, it minds its own business, and whatever ends it leaves nothing behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orderkit.cli import demo
from orderkit.demo import playing
from orderkit.demo.processes import Died, Processes, free_port
from orderkit.demo.verdict import Check
from orderkit.errors import Unavailable
from tests.cli.conftest import Cli

ROOT = Path(__file__).resolve().parents[2]
ENDS_WITHIN_S = 60
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`orderkit demo …` with temporary folders under `tmp_path`, in a folder of a user who has something to lose."""
    started: list[subprocess.Popen[str]] = []
    users = tmp_path / "user"
    users.mkdir()
    (users / ".env").write_text("ORDERKIT_DATABASE_URL=mysql://nobody/nothing\nORDERKIT_DB_TIMEOUT=never\n")
    mine = {"ORDERKIT_HOME": str(users / "home"), "ORDERKIT_DB_POOL_SIZE": "many", "TMPDIR": str(tmp_path)}

    def run(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "orderkit", "demo", *arguments],
            cwd=users,
            env=os.environ | mine | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=ENDS_WITHIN_S)
    assert [one.name for one in users.iterdir()] == [".env"]


def homes(tmp_path: Path) -> list[Path]:
    """Folders of demos that are there now."""
    return list(tmp_path.glob("orderkit-demo-*"))


def is_gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for yet counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def wait_until(condition: Callable[[], bool], within_s: float = 30) -> None:
    until = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)


def read_json(process: subprocess.Popen[str]) -> Any:
    """The one JSON value that a demo which stays up has printed."""
    assert process.stdout is not None
    text, until = "", time.monotonic() + ENDS_WITHIN_S
    while not text.endswith("\n}\n"):
        [ready, _, _] = select.select([process.stdout], [], [], max(0, until - time.monotonic()))
        assert ready, f"no more than {text!r}"
        read = os.read(process.stdout.fileno(), 65536).decode()
        assert read, f"ended with {process.wait()} after {text!r}"
        text += read
    return json.loads(text)


def get(url: str, token: str | None = None) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def all_orders(api: str, token: str) -> list[Any]:
    found: list[Any] = []
    cursor = ""
    while True:
        page = get(f"{api}/orders?limit=100{cursor}", token)
        found += page["items"]
        if page["next_cursor"] is None:
            return found
        cursor = f"&cursor={page['next_cursor']}"


@pytest.mark.integration
def test_it_counts_what_anybody_can_count_and_leaves_nothing_behind(start: Start, tmp_path: Path) -> None:
    process = start("--json", "--orders", "30")
    told = read_json(process)
    checks = {check["what"]: (check["customers"], check["database"], check["provider"]) for check in told["checks"]}
    assert told["agree"] is True
    assert all(check["holds"] for check in told["checks"])
    assert told["orders"] == 30

    ledger = get(f"{told['simulator']}/ledger")
    orders = all_orders(told["api"], told["token"])
    rows = sqlite3.connect(told["database"])
    kept = dict(rows.execute("SELECT status, count(*) FROM orders GROUP BY status").fetchall())
    captured = dict(
        rows.execute(
            "SELECT currency, sum(amount) FROM payments WHERE status = 'captured' GROUP BY currency"
        ).fetchall()
    )
    [gone] = rows.execute(
        "SELECT (SELECT sum(delta) FROM stock_movements) - (SELECT sum(stock) FROM products)"
    ).fetchone()
    rows.close()

    assert kept == Counter(order["status"] for order in orders)
    assert kept == {state: count for state, count in told["outcomes"].items() if state != "refused"}
    shipped = [order for order in orders if order["status"] in ("shipped", "delivered")]
    [cancelled] = [order for order in orders if order["status"] == "cancelled"]
    paid = [*shipped, cancelled]
    booked = [entry for entry in ledger["bookings"] if entry["status"] != "cancelled"]
    assert len(orders) + told["outcomes"]["refused"] == 30
    assert checks["paid, captured exactly once"] == (None, len(paid), len(ledger["captures"]))
    assert checks["shipped, booked exactly once"] == (None, len(shipped), len(booked))
    assert {order["payment"]["id"]: order["total"] for order in paid} == {
        entry["key"]: entry["amount"] for entry in ledger["captures"]
    }
    assert {order["fulfillment"]["tracking_number"] for order in shipped} == {entry["reference"] for entry in booked}
    assert [entry["status"] for entry in ledger["bookings"] if entry["order_id"] == cancelled["id"]] == ["cancelled"]
    assert_that_money_went_back(told, orders, ledger)
    assert_that_a_parcel_arrived(told, orders, ledger)
    assert captured == sums(ledger["captures"])
    assert checks["pieces sold = received − left"] == (gone, gone, None)
    assert sum(item["quantity"] for order in shipped for item in order["items"]) == gone

    acts = {act["name"]: act for act in told["acts"]}
    assert acts["last_piece"]["outcomes"] == {"shipped": 1, "refused": 3}
    assert acts["same_key"]["outcomes"] == {"shipped": 1}
    assert sum(acts["same_key"]["answers"].values()) == 9

    process.terminate()
    assert process.wait(timeout=30) == 0
    assert set(told["pids"]) == {"guard", "serve", "worker", "simulate"}
    assert [name for name, pid in told["pids"].items() if not is_gone(pid)] == []
    assert homes(tmp_path) == []


def assert_that_money_went_back(told: Any, orders: list[Any], ledger: Any) -> None:
    """All of the order that was cancelled, a part of one that was not, as provider, API and the lines of the verdict say."""
    back = {order["id"]: order["payment"]["refunded"] for order in orders if order["payment"]["refunded"]}
    [(cancelled, whole)] = [(one["id"], one["total"]) for one in orders if one["status"] == "cancelled"]
    [(part_of, part)] = [(one, amount) for one, amount in back.items() if one != cancelled]
    assert back[cancelled] == whole
    assert sorted(entry["amount"] for entry in ledger["refunds"]) == sorted([whole, part])
    [listed] = get(f"{told['api']}/orders/{part_of}/refunds", told["token"])["items"]
    assert (listed["amount"], listed["status"], listed["restock"]) == (part, "succeeded", True)
    checks = {check["what"]: (check["customers"], check["database"], check["provider"]) for check in told["checks"]}
    text = f"{(whole + part) / 100:.2f} GBP"
    assert checks["paid back, GBP"] == (text, text, text)
    assert checks["cancelled, all paid back"] == (1, 1, None)


def assert_that_a_parcel_arrived(told: Any, orders: list[Any], ledger: Any) -> None:
    """One order is delivered, once, and the carrier says the same."""
    [delivered] = [order for order in orders if order["status"] == "delivered"]
    [entry] = [entry for entry in ledger["bookings"] if entry["status"] == "delivered"]
    assert entry["reference"] == delivered["fulfillment"]["tracking_number"]
    story = get(f"{told['api']}/orders/{delivered['id']}/timeline", told["token"])["items"]
    assert [one["detail"]["to"] for one in story if one["kind"] == "status"] == [
        "pending",
        "paid",
        "shipped",
        "delivered",
    ]


def sums(entries: list[Any]) -> Counter[str]:
    total: Counter[str] = Counter()
    for entry in entries:
        total[entry["currency"]] += entry["amount"]
    return total


@pytest.mark.integration
def test_with_exit_it_tells_the_story_in_plain_lines_and_ends(start: Start, tmp_path: Path) -> None:
    began = time.monotonic()
    process = start("--exit", "--orders", "20", "--record", str(tmp_path / "demo.svg"))
    out, err = process.communicate(timeout=ENDS_WITHIN_S)
    assert (process.returncode, err) == (0, "")
    assert time.monotonic() - began < ENDS_WITHIN_S
    assert "\x1b" not in out
    assert "carrier never works: 201: pending → paid → shipped after 6 calls to the carrier" in out
    assert "shipped at last, 1 × in the carrier's ledger" in out
    assert "customer cancels: 201: pending → paid → cancelled after 2 calls to the carrier" in out
    assert "twice at once under one key: 201 and its replay" in out
    assert "forged delivery report: 400, still shipped; the carrier's own, 3 at once: 200 ×3, delivered" in out
    assert "carrier delivers: 201: pending → paid → shipped → delivered" in out
    assert "The counts agree" in out
    assert "✗" not in out
    assert "/docs" not in out
    assert (tmp_path / "demo.svg").read_text().startswith("<svg")
    assert homes(tmp_path) == []


@pytest.mark.integration
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_end_stops_everything(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    process = start("--exit")
    wait_until(lambda: any((home / "serve.log").exists() for home in homes(tmp_path)))
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert err == "interrupted before the counts were in; everything was stopped and removed\n"
    assert "The counts" not in out
    assert homes(tmp_path) == []


PARENT = """
import json, sys, time
from orderkit.demo.processes import Processes
with Processes({}) as processes:
    processes.start("simulate", "--port", "0")
    print(json.dumps(processes.pids), flush=True)
    time.sleep(60)
"""


@pytest.mark.integration
def test_kill_9_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env=os.environ | {"TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pids = json.loads(parent.stdout.readline())
    [home] = homes(tmp_path)
    wait_until(lambda: "simulating" in (home / "simulate.log").read_text())
    assert not any(is_gone(pid) for pid in pids.values())
    parent.kill()
    parent.communicate()
    wait_until(lambda: all(is_gone(pid) for pid in pids.values()))
    assert homes(tmp_path) == []


@pytest.mark.integration
def test_a_process_that_ends_by_itself_is_told_with_its_last_words() -> None:
    with Processes({}) as processes:
        serve = processes.start("serve", "--port", "0")  # on a database that nobody has migrated
        wait_until(lambda: serve.status is not None)
        with pytest.raises(Died, match="orderkit serve ended with status 2, so the demo cannot go on") as died:
            processes.check()
        home = processes.home
    assert "run: orderkit migrate" in died.value.log[-1]
    assert not home.exists()


@pytest.mark.integration
def test_a_child_that_will_not_go_is_killed() -> None:
    with Processes({}) as processes:
        simulate = processes.start("simulate", "--port", "0")
        wait_until(lambda: "simulating" in simulate.log.read_text())
        os.kill(simulate.pid, signal.SIGSTOP)
        processes.hurry()
    assert simulate.status == -signal.SIGKILL


def test_a_port_in_use_is_one_clear_line(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = cli("demo", "--port", str(port))
    said = f"error: port {port} is in use or not to be had; choose another --port, or leave it out\n"
    assert told == (1, "", said)


def test_a_free_port_is_one_that_nobody_listens_on() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as server:
        assert server.getsockname()[1] < 32768  # where no outgoing connection gets its port from


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--orders", "3"], "is not in the range 20<=x<=2000"),
        (["--port", "0"], "--port"),
        (["--record", "/nowhere/at/all.svg"], "cannot write /nowhere/at/all.svg"),
    ],
)
def test_wrong_use_starts_nothing(cli: Cli, arguments: list[str], said: str) -> None:
    told = cli("demo", *arguments)
    assert (told.code, told.out) == (2, "")
    assert said in told.err


GOOD, BAD = Check("a", 1, 1, 1, True), Check("b", None, 1, 2, False, "they differ")


@pytest.mark.integration
@pytest.mark.parametrize(("checks", "code"), [([GOOD, GOOD], 0), ([GOOD, BAD], 1)])
def test_it_exits_0_only_when_every_count_agrees(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, checks: list[Check], code: int
) -> None:
    async def ending(self: Any, _database: Any) -> playing.Ending:
        return playing.Ending(self._story, self._access, checks, "token", {})

    monkeypatch.setattr(playing._Demo, "_story_and_verdict", ending)
    told = cli("demo", "--exit", "--json")
    assert told.code == code
    assert json.loads(told.out)["agree"] is (code == 0)


def test_a_demo_that_cannot_go_on_is_told_with_the_last_words_of_who_died(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Process:
        name, status = "worker", -9

        def last_lines(self) -> list[str]:
            return ["one", "two"]

    def died(**_options: object) -> bool:
        raise Died(Process())  # type: ignore[arg-type]

    monkeypatch.setattr(playing, "play", died)
    told = cli("demo")
    assert told.code == 1
    assert (
        told.err
        == "error: orderkit worker was killed by signal 9, so the demo cannot go on; it said last:\n  one\n  two\n"
    )


def test_a_demo_that_is_not_ready_in_time_is_one_clear_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def late(**_options: object) -> bool:
        raise Unavailable("the demo's processes were not ready after 40 s; is the machine very busy?")

    monkeypatch.setattr(playing, "play", late)
    assert cli("demo").err == "error: the demo's processes were not ready after 40 s; is the machine very busy?\n"


def test_the_default_is_within_what_can_be_played() -> None:
    from orderkit.demo import script

    assert script.MIN_ORDERS <= demo.ORDERS <= script.MAX_ORDERS
