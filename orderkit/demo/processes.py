"""The demo's processes: the very commands that a user would start, each with its log in a file, none left behind."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import orderkit
from orderkit.demo import guard
from orderkit.errors import Unavailable
from orderkit.settings import PREFIX

HOST = "127.0.0.1"
LAST_LINES = 12
DRAIN_S = 8.0
"""The processes take up to 30 s to drain; here nobody talks to them any more."""

# Below the range from which Linux and macOS take ports for outgoing connections, so that none is taken between the look
# and the listening.
_PORTS = range(20000, 32000)


def free_port() -> int:
    """A port nobody listens on. Raises Unavailable when none is found."""
    for port in random.sample(_PORTS, 100):
        if _is_free(port):
            return port
    raise Unavailable(f"found no free port between {_PORTS.start} and {_PORTS.stop}; name one with --port")


def require_free(port: int) -> None:
    """Raises Unavailable when somebody listens on the port, or it cannot be had."""
    if not _is_free(port):
        raise Unavailable(f"port {port} is in use or not to be had; choose another --port, or leave it out")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError):
            return False
    return True


class Process:
    """One child. Its standard output and error go to `log`."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.log = log
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._popen.poll()

    def terminate(self) -> None:
        if self.status is None:
            self._popen.terminate()

    def kill(self) -> None:
        if self.status is None:
            self._popen.kill()

    def wait(self) -> None:
        self._popen.wait()

    def last_lines(self) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        except OSError:
            return []


class Died(Unavailable):
    """A process ended that was not asked to. `log` is the end of what it said."""

    def __init__(self, process: Process) -> None:
        status = process.status or 0
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        super().__init__(f"orderkit {process.name} {how}, so the demo cannot go on")
        self.log = process.last_lines()


class Processes:
    """The children, their guard, and the folder `home` that everything lives in. A context: at its end all of it is gone.

    Where the demo is killed before that end, the guard does the same.
    """

    def __init__(self, environment: dict[str, str]) -> None:
        """`environment` is what the children get beside this process's own."""
        self._extra = environment
        self._running: list[Process] = []
        self._impatient = False

    def __enter__(self) -> Processes:
        self.home = Path(tempfile.mkdtemp(prefix="orderkit-demo-"))
        self._environment = os.environ | self._extra | {f"{PREFIX}HOME": str(self.home), "PYTHONPATH": _import_path()}
        alive, self._alive = os.pipe()
        try:
            self._guard = subprocess.Popen(  # noqa: S603 - our own file
                [sys.executable, "-I", "-S", guard.__file__, str(self.home), str(alive)],
                stdin=subprocess.PIPE,
                pass_fds=[alive],
                process_group=0,  # out of the terminal's group: Ctrl-C there is ours to handle
            )
        finally:
            os.close(alive)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        os.close(self._alive)
        shutil.rmtree(self.home, ignore_errors=True)
        assert self._guard.stdin is not None  # noqa: S101 - asked for above
        self._guard.stdin.write(guard.GOODBYE)
        self._guard.stdin.close()
        self._guard.wait()

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of those started, and of the guard."""
        return {"guard": self._guard.pid} | {process.name: process.pid for process in self._running}

    @property
    def environment(self) -> dict[str, str]:
        """What the children are started with."""
        return dict(self._environment)

    def start(self, command: str, *arguments: str) -> Process:
        """Starts `orderkit COMMAND …` in `home`, where no `.env` of the user's is found."""
        log = self.home / f"{command}.log"
        with log.open("wb") as out:
            popen = subprocess.Popen(  # noqa: S603 - our own commands
                [sys.executable, "-m", "orderkit", command, *arguments],
                cwd=self.home,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                pass_fds=[self._alive],
                process_group=self._guard.pid,
            )
        process = Process(command, popen, log)
        self._running.append(process)
        return process

    def check(self) -> None:
        """Raises Died when one of them has ended."""
        for process in self._running:
            if process.status is not None:
                raise Died(process)

    async def watch(self) -> None:
        """Waits for ever, unless one of them ends: raises Died."""
        while True:
            self.check()
            await asyncio.sleep(0.2)

    def hurry(self) -> None:
        """Kills instead of draining, from now on: the user has asked twice."""
        self._impatient = True
        for process in self._running:
            process.kill()

    def _stop(self) -> None:
        """Last started, first stopped: the simulator goes when nobody asks it any more."""
        simulators = [process for process in self._running if process.name == "simulate"]
        self._end([process for process in self._running if process not in simulators])
        self._end(simulators)
        self._running.clear()

    def _end(self, processes: Sequence[Process]) -> None:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + DRAIN_S
        while any(process.status is None for process in processes):
            if self._impatient or time.monotonic() > deadline:
                for process in processes:
                    process.kill()
                    process.wait()
                return
            time.sleep(0.02)


def _import_path() -> str:
    """This very installation first, whether it is installed or a folder that somebody stands in."""
    here = str(Path(orderkit.__file__).resolve().parents[1])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])


@contextmanager
def without_settings() -> Iterator[None]:
    """Within the block no setting of the user's installation is in the environment: it is none of the demo's business."""
    before = {name: value for name, value in os.environ.items() if name.upper().startswith(PREFIX)}
    for name in before:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)
