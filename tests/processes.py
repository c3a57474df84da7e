"""Real processes of orderkit, for journeys through all of it: started, waited for, killed, and never left behind."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

READY_WITHIN_S = 30
GONE_WITHIN_S = 35
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


class Process:
    """`python -m orderkit …` with its output kept in a file."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ORDERKIT_")}
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orderkit", *arguments],
                env=ours | dict(env),
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=log.parent,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, within_s: float = READY_WITHIN_S) -> None:
        """Until the output has `text`; fails with the output when the process ends before, or time runs out."""
        until = time.monotonic() + within_s
        while text not in self.output:
            assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.output}"
            assert time.monotonic() < until, f"no {text!r} within {within_s} s:\n{self.output}"
            time.sleep(0.02)

    def address(self) -> str:
        """The URL that a server says it listens on, once it answers there."""
        self.wait_for("http://127.0.0.1:")
        found = _ADDRESS.search(self.output)
        assert found is not None
        until = time.monotonic() + READY_WITHIN_S
        while True:
            try:
                with urllib.request.urlopen(f"{found.group()}/openapi.json", timeout=5):
                    return found.group()
            except urllib.error.HTTPError:
                return found.group()
            except OSError:
                assert self._process.poll() is None, f"ended with {self._process.returncode}:\n{self.output}"
                assert time.monotonic() < until, f"does not answer:\n{self.output}"
                time.sleep(0.02)

    def terminate(self, *numbers: signal.Signals) -> int:
        """SIGTERM, or those signals one after the other, and the exit code that followed."""
        for number in numbers or (signal.SIGTERM,):
            self._process.send_signal(number)
            time.sleep(0.5 if len(numbers) > 1 else 0)
        return self._process.wait(GONE_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL to it and to all it started, and waits until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(GONE_WITHIN_S)


class Processes:
    """Those of one test. They share settings by environment: `env` is what all of them get."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.env = dict(env)
        self._folder = folder
        self._all: list[Process] = []

    def start(self, *arguments: str, **env: str) -> Process:
        """`orderkit` with those arguments; keyword arguments are further environment variables."""
        log = self._folder / f"{len(self._all)}-{arguments[0]}.log"
        process = Process(list(arguments), self.env | env, log)
        self._all.append(process)
        return process

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`orderkit` with those arguments, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "orderkit", *arguments],
            env={**{n: v for n, v in os.environ.items() if not n.startswith("ORDERKIT_")}, **self.env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self._folder,
            check=False,
        )

    def kill_all(self) -> None:
        for process in self._all:
            process.kill()
