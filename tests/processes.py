"""Real processes of orderkit, for journeys through all of it: started, waited for, killed, and never left behind.

Each is a process of its own with its own environment, folder, session and output, but begins where the modules are
imported already (`tests.imported`): importing takes 1.7 s of CPU, which is four fifths of what starting one takes, and a
run of the tests starts some two hundred. How a process starts from nothing is for those that say `fresh`.
"""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from pathlib import Path
from typing import Protocol

READY_WITHIN_S = 30
GONE_WITHIN_S = 35
RUN_WITHIN_S = 120
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+")


ROOT = Path(__file__).resolve().parents[1]
NOTHING = Path(os.devnull)


class Started(Protocol):
    """As much of subprocess.Popen as is used of any."""

    @property
    def pid(self) -> int: ...
    @property
    def returncode(self) -> int | None: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float) -> int: ...
    def send_signal(self, number: int) -> None: ...


class Forked:
    """`orderkit …`, or another `module`, in a fork of a process that has imported it. Raises what Popen would."""

    def __init__(
        self,
        arguments: Sequence[str],
        env: Mapping[str, str],
        cwd: Path,
        stdin: Path,
        stdout: Path,
        stderr: Path,
        module: str = "orderkit",
    ) -> None:
        context = get_context("forkserver")
        context.set_forkserver_preload(["tests.imported"])
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before]))
        try:
            forkserver.ensure_running()  # finds its modules by that variable alone
        finally:
            os.environ.pop("PYTHONPATH")
            os.environ.update({} if before is None else {"PYTHONPATH": before})
        given = (module, list(arguments), dict(env), cwd, stdin, stdout, stderr)
        self._process = context.Process(target=_run, args=given)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("orderkit", timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            # It may be gone, and collected by the one it was forked from, who has not said so yet.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def _run(
    module: str, arguments: list[str], env: dict[str, str], cwd: Path, stdin: Path, stdout: Path, stderr: Path
) -> None:
    """Makes this process what `python -m` with that module and those arguments would be, and runs it to its end."""
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, path in enumerate((stdin, stdout, stderr)):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.argv = [module, *arguments]
    if module == "orderkit":
        from orderkit.cli.main import main

        main()
    else:
        runpy.run_module(module, run_name="__main__", alter_sys=True)


def completed(
    arguments: Sequence[str],
    env: Mapping[str, str],
    cwd: Path,
    *,
    stdin: str = "",
    module: str = "orderkit",
    within_s: float = RUN_WITHIN_S,
) -> subprocess.CompletedProcess[str]:
    """Runs a `Forked` one to its end, with what it said. Raises TimeoutExpired, and kills it, after `within_s`."""
    with tempfile.TemporaryDirectory(prefix="orderkit-run-") as directory:
        given, out, err = (Path(directory) / name for name in ("in", "out", "err"))
        given.write_text(stdin)
        process = Forked(arguments, env, cwd, given, out, err, module)
        try:
            code = process.wait(within_s)
        finally:
            process.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess([module, *arguments], code, out.read_text(), err.read_text())


class Process:
    """`orderkit …` with its output kept in a file."""

    def __init__(self, arguments: list[str], env: Mapping[str, str], log: Path, *, fresh: bool = False) -> None:
        self.log = log
        env = _without_ours() | dict(env)
        log.touch()
        self._process: Started
        if not fresh:
            self._process = Forked(arguments, env, log.parent, NOTHING, log, log)
            return
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "orderkit", *arguments],
                env=env,
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

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> int:
        """SIGKILL to it and to all it started, and waits until it is gone; its exit code, which may be one of before."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.send_signal(signal.SIGKILL)  # also before it has a session of its own
        return self._process.wait(GONE_WITHIN_S)


class Processes:
    """Those of one test. They share settings by environment: `env` is what all of them get.

    With `fresh` they start from nothing, as for a user.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], *, fresh: bool = False) -> None:
        self.env = dict(env)
        self.fresh = fresh
        self._folder = folder
        self._all: list[Process] = []

    def start(self, *arguments: str, **env: str) -> Process:
        """`orderkit` with those arguments; keyword arguments are further environment variables."""
        log = self._folder / f"{len(self._all)}-{arguments[0]}.log"
        process = Process(list(arguments), self.env | env, log, fresh=self.fresh)
        self._all.append(process)
        return process

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """`orderkit` with those arguments, to its end."""
        env = _without_ours() | self.env
        if self.fresh:
            return subprocess.run(
                [sys.executable, "-m", "orderkit", *arguments],
                env=env,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=RUN_WITHIN_S,
                cwd=self._folder,
                check=False,
            )
        return completed(arguments, env, self._folder, stdin=stdin)

    def kill_all(self) -> None:
        for process in self._all:
            process.kill()


def _without_ours() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("ORDERKIT_")}
