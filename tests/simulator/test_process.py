"""The simulator as a process of its own: killed, restarted and told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from orderkit.errors import ConfigurationError, Unavailable
from orderkit.fulfillment.carriers import Booked, Failed
from orderkit.fulfillment.carriers.simulator import SimulatorCarrier
from orderkit.http_client import open_session
from orderkit.ids import new_id
from orderkit.payments.gateways import Captured, Refunded, Unknown, Voided
from orderkit.payments.gateways.simulator import SimulatorGateway
from orderkit.serving import listen, serve_until_signalled
from orderkit.settings import Settings
from orderkit.simulator import server
from orderkit.simulator.app import create_simulator

pytestmark = pytest.mark.integration

T = TypeVar("T")
RUN = """
import pathlib, sys
from orderkit.settings import load_settings
from orderkit.simulator.server import run
run("127.0.0.1", int(sys.argv[1]), pathlib.Path(sys.argv[2]), load_settings())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@contextmanager
def process(store: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    started = subprocess.Popen(
        [sys.executable, "-c", RUN, str(port), str(store)],
        env=os.environ | {"LOGURU_LEVEL": "WARNING"},  # it says nothing unless something is wrong
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        _wait_for(url)
        yield started, url
    finally:
        started.kill()
        started.communicate()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
                assert answer.status == 200
                return
        except OSError:
            assert time.monotonic() < deadline, "the simulator did not come up"
            time.sleep(0.05)


def ask(act: Callable[[Any], Awaitable[T]], *, timeout_s: float = 5.0) -> T:
    async def asked() -> T:
        async with open_session(timeout_s) as http:
            return await act(http)

    return asyncio.run(asked())


def test_what_was_answered_survives_a_kill(tmp_path: Path) -> None:
    keys = {name: new_id() for name in ("charge", "void", "refund", "flaky", "before", "book")}
    charge: dict[str, Any] = {"amount": 500, "currency": "GBP", "method": "pm_card_visa", "attempt": 1}
    flaky: dict[str, Any] = {
        "order_id": new_id(),
        "address": {"postal_code": "FAIL-2"},
        "amount": 500,
        "currency": "GBP",
        "attempt": 1,
    }

    async def before(http: Any, url: str) -> tuple[Captured, Refunded]:
        gateway, carrier = SimulatorGateway(http, url), SimulatorCarrier(http, url)
        captured = await gateway.charge(key=keys["charge"], **charge)
        assert isinstance(captured, Captured)
        refunded = await gateway.refund(
            key=keys["refund"], reference=captured.reference, amount=100, currency="GBP", attempt=1
        )
        assert isinstance(refunded, Refunded)
        assert await gateway.void(key=keys["void"], **charge) == Voided()
        for _ in range(2):
            assert isinstance(await carrier.book(key=keys["flaky"], **flaky), Failed)
        async with asyncio.timeout(1.0):
            await gateway.charge(key=keys["before"], **{**charge, "method": "pm_card_timeout_before_charge"})
        raise AssertionError("the charge was answered")

    async def after(http: Any, url: str) -> None:
        gateway, carrier = SimulatorGateway(http, url), SimulatorCarrier(http, url)
        assert isinstance(await gateway.charge(key=keys["charge"], **charge), Captured)
        assert await gateway.void(key=keys["void"], **charge) == Voided()
        assert isinstance(await carrier.book(key=keys["flaky"], **flaky), Booked)
        late = await gateway.charge(key=keys["before"], **{**charge, "method": "pm_card_timeout_before_charge"})
        assert isinstance(late, Captured)
        async with http.get(f"{url}/ledger") as response:
            ledger = await response.json()
        assert [entry["key"] for entry in ledger["captures"]] == [str(keys["charge"]), str(keys["before"])]
        assert [(entry["key"], entry["amount"]) for entry in ledger["refunds"]] == [(str(keys["refund"]), 100)]
        assert [entry["key"] for entry in ledger["bookings"]] == [str(keys["flaky"])]

    store = tmp_path / "simulator.db"
    with process(store) as (killed, url):
        with pytest.raises(TimeoutError):
            ask(lambda http: before(http, url))
        killed.send_signal(signal.SIGKILL)
        assert killed.wait(5) == -signal.SIGKILL
    with process(store) as (_, url):
        ask(lambda http: after(http, url))


def test_a_kill_amid_many_calls_leaves_every_capture_that_was_answered_and_no_key_twice(tmp_path: Path) -> None:
    charge: dict[str, Any] = {"amount": 500, "currency": "GBP", "method": "pm_card_visa", "attempt": 1}
    told: dict[Any, Captured] = {}
    asked: list[Any] = []

    async def load(http: Any, url: str, running: subprocess.Popen[bytes]) -> None:
        gateway = SimulatorGateway(http, url)

        async def buyer() -> None:
            while True:
                key = new_id()
                asked.append(key)
                result = await gateway.charge(key=key, **charge)
                if not isinstance(result, Captured):
                    return
                told[key] = result
                if len(told) == 300:
                    running.kill()

        await asyncio.gather(*(buyer() for _ in range(16)))

    async def repeat(http: Any, url: str) -> None:
        gateway = SimulatorGateway(http, url)
        assert {key: await gateway.charge(key=key, **charge) for key in told} == told
        for key in asked:
            assert isinstance(await gateway.charge(key=key, **charge), Captured)
        async with http.get(f"{url}/ledger") as response:
            keys = [entry["key"] for entry in (await response.json())["captures"]]
        assert sorted(keys) == sorted(map(str, asked))

    store = tmp_path / "simulator.db"
    with process(store) as (killed, url):
        ask(lambda http: load(http, url, killed))
    assert len(told) >= 300
    with process(store) as (_, url):
        ask(lambda http: repeat(http, url))


def test_sigterm_lets_held_connections_go_and_exits_0(tmp_path: Path) -> None:
    with process(tmp_path / "simulator.db") as (running, url):

        async def held(http: Any) -> Any:
            gateway = SimulatorGateway(http, url)
            asked: dict[str, Any] = {"key": new_id(), "amount": 1, "currency": "GBP", "attempt": 1}
            call = asyncio.create_task(gateway.charge(**asked, method="pm_card_timeout_before_charge"))
            await asyncio.sleep(0.5)
            running.send_signal(signal.SIGTERM)
            return await call

        cut = ask(held, timeout_s=20.0)
        assert isinstance(cut, Unknown)
        assert cut.reason != "timed out"
        output, _ = running.communicate(timeout=30)
        # No clock says that it went at once: had the call been cut when the drain's time was up, there would be a line.
        assert (running.returncode, output) == (0, b"")


def test_a_slow_answer_under_way_is_still_given_after_sigterm(tmp_path: Path) -> None:
    with process(tmp_path / "simulator.db") as (running, url):

        async def slow(http: Any) -> Any:
            asked: dict[str, Any] = {"key": new_id(), "amount": 1, "currency": "GBP", "attempt": 1}
            call = asyncio.create_task(SimulatorGateway(http, url).charge(**asked, method="pm_card_slow"))
            await asyncio.sleep(0.5)
            running.send_signal(signal.SIGTERM)
            return await call

        assert isinstance(ask(slow), Captured)
        assert running.wait(10) == 0


def test_a_port_that_is_taken_and_a_store_that_cannot_be_are_told_in_one_line(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Unavailable, match=r"cannot listen on .* in use"),
    ):
        server.run("127.0.0.1", taken.getsockname()[1], tmp_path / "simulator.db", Settings())
    assert not (tmp_path / "simulator.db").exists()
    with pytest.raises(ConfigurationError, match="cannot listen on"):
        listen("127.0.0.1", 70_000)
    (tmp_path / "not-a-database").write_bytes(b"x" * 4096)
    for path in (tmp_path / "not-a-database", tmp_path / "not-a-database" / "store.db", tmp_path):
        with pytest.raises(ConfigurationError, match="cannot keep the simulator's store"):
            create_simulator(path, Settings())


def test_a_folder_that_it_makes_is_its_owner_s_alone(tmp_path: Path) -> None:
    create_simulator(tmp_path / "home" / "simulator.db", Settings())
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0, "the worker and the API keep secrets there"


def test_an_app_that_does_not_start_is_told(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError("no")

    with pytest.raises(Unavailable, match="could not start"):
        serve_until_signalled(broken, host="127.0.0.1", port=0)
    assert "no" in caplog.text
