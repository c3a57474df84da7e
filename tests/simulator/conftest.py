"""The simulator on a loopback port, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn

from orderkit.http_client import open_session
from orderkit.serving import listen
from orderkit.settings import Settings
from orderkit.simulator import app as simulator_app
from orderkit.simulator.app import create_simulator

PATIENT_S = 15.0
IMPATIENT_S = 0.5
"""How long to wait for an answer that will not come."""


@dataclass(frozen=True)
class Simulator:
    url: str

    @asynccontextmanager
    async def session(self, timeout_s: float = PATIENT_S) -> AsyncIterator[aiohttp.ClientSession]:
        async with open_session(timeout_s) as http:
            yield http

    async def misbehave(self, target: str, mode: str, count: int = 1) -> None:
        async with self.session() as http:
            plan = {"target": target, "mode": mode, "count": count}
            async with http.post(f"{self.url}/behavior", json=plan) as response:
                assert response.status == 200, await response.text()

    async def heal(self) -> dict[str, int]:
        async with self.session() as http, http.delete(f"{self.url}/behavior") as response:
            assert response.status == 200
            healed: dict[str, int] = await response.json()
            return healed

    async def ledger(self) -> dict[str, list[dict[str, Any]]]:
        async with self.session() as http, http.get(f"{self.url}/ledger") as response:
            assert response.status == 200
            entries: dict[str, list[dict[str, Any]]] = await response.json()
            return entries


@pytest.fixture
def simulator_settings(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, home=tmp_path / "home")


@pytest.fixture
def simulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, simulator_settings: Settings) -> Iterator[Simulator]:
    """A simulator whose slow answers take 0.2 s."""
    monkeypatch.setattr(simulator_app, "SLOW_S", 0.2)
    app = create_simulator(tmp_path / "simulator.db", simulator_settings)
    with listen("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="on", timeout_graceful_shutdown=5))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield Simulator(url)
        server.should_exit = True
        thread.join(10)
    assert not thread.is_alive(), "the simulator still holds a connection whose client has gone"


@pytest.fixture
def raw(simulator: Simulator) -> Callable[..., Any]:
    """`await raw(method, path, key=…, data=…)` is the status and the parsed answer."""

    async def call(
        method: str, path: str, *, data: bytes | str | None = None, headers: list[tuple[str, str]] | None = None
    ) -> tuple[int, Any]:
        async with (
            simulator.session() as http,
            http.request(method, simulator.url + path, data=data, headers=headers) as response,
        ):
            return response.status, await response.json(content_type="application/json")

    return call
