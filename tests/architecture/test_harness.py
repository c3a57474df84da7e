"""What tests may rely on: their own environment, marks that nobody need think of, a seed, and no server left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from tests.processes import Processes

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]

A_TEST_FILE = """
import os, random
from pathlib import Path
import pytest
from hypothesis import given, strategies as st
from orderkit.settings import load_settings

def test_environment():
    assert not [name for name in os.environ if name.upper().startswith("ORDERKIT_")]
    assert list(Path.cwd().iterdir()) == []
    assert load_settings().db_timeout == 5

def test_leaves_things_behind():
    os.environ["ORDERKIT_NONSENSE"] = "1"
    Path("rubbish").write_text("")
    os.chdir("/")

def test_finds_nothing_of_it():
    test_environment()

def test_random(rng):
    raise LookupError(f"{rng.random()} {random.random()}")

@given(st.integers())
def test_property(number):
    Path("drawn").open("a").write(f"{number} ")

def test_with_a_database(engine_name):
    pass
"""


def run_pytest(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "--rootdir", str(folder), *arguments, "test_it.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "ORDERKIT_LEASE": "no number", "orderkit_junk": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout + done.stderr


def failed_with(told: str) -> tuple[str, str]:
    """The random numbers of the test that failed, and its seed."""
    found = re.search(r"LookupError: ([\d.e-]+ [\d.e-]+)", told)
    seed = re.search(r"repeat with --seed (\d+)", told)
    assert found is not None, told
    assert seed is not None, told
    return found[1], seed[1]


def test_a_test_knows_nothing_of_the_shell_or_of_the_test_before_it_is_marked_and_can_be_repeated(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_it.py").write_text(A_TEST_FILE)
    (tmp_path / ".env").write_text("ORDERKIT_DB_TIMEOUT=1\nORDERKIT_RUBBISH=1\n")
    told = run_pytest(tmp_path, "-m", "unit")
    assert "1 failed, 4 passed, 2 deselected" in told, "the two with a database are no unit tests"
    numbers, seed = failed_with(told)
    assert failed_with(run_pytest(tmp_path, "-k", "random", "--seed", seed)) == (numbers, seed)


def test_processes_that_begin_with_everything_imported_share_nothing_else(tmp_path: Path) -> None:
    """Two at once: a process, a session, a folder, an environment and streams each, and the exit code of a command."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    wrong = ("ORDERKIT_LEASE", "ORDERKIT_DB_TIMEOUT")
    both = [Processes(folder, {name: "long"}) for folder, name in zip(folders, wrong, strict=True)]
    running = [processes.start("simulate", "--port", "0", **dict.fromkeys(processes.env, "7")) for processes in both]
    try:
        assert len({one.address() for one in running}) == 2
        assert len({os.getsid(one.pid) for one in running} | {os.getsid(0)}) == 3
        assert [psutil.Process(one.pid).cwd() for one in running] == [str(folder) for folder in folders]
        assert [one.terminate() for one in running] == [0, 0]
    finally:
        for processes in both:
            processes.kill_all()
    assert [one.output.count("simulating") for one in running] == [1, 1]
    told = [processes.run("config", "check") for processes in both]
    assert [(one.returncode, one.stdout) for one in told] == [(2, "")] * 2
    assert [[name in one.stderr for name in wrong] for one in told] == [[True, False], [False, True]]


@pytest.mark.parametrize("server", ["postgresql", "redis"])
def test_a_run_that_is_killed_leaves_no_server_behind(server: str) -> None:
    directory = Path(tempfile.mkdtemp(prefix="orderkit-tests-"))
    code = (
        "import os, sys, time; from pathlib import Path; from tests.servers import Servers;"
        f"Servers(Path({str(directory)!r}), os.getpid()).{server}(); print('ready', flush=True); time.sleep(60)"
    )
    controller = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert controller.stdout is not None
    with controller:
        assert controller.stdout.readline() == "ready\n"
        keeper = psutil.Process(int((directory / f"{server}.pid").read_text()))
        processes = [keeper, *_processes_in(directory)]
        assert len(processes) > 1
        os.kill(controller.pid, signal.SIGKILL)
    _gone, alive = psutil.wait_procs(processes, timeout=20)
    assert alive == []
    until = time.monotonic() + 5
    while directory.exists() and time.monotonic() < until:
        time.sleep(0.05)
    assert not directory.exists()


def _processes_in(directory: Path) -> list[psutil.Process]:
    """Servers that were told to keep their files there."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(str(directory) in argument for argument in process.info["cmdline"] or ()):
            found.append(process)
    return found
