"""Evidence that costs minutes, made on demand by the commands that measure it, and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from orderkit.print_pack import stamps
from orderkit.print_pack.evidence import DEAR, Piece, Store, read, stamped
from orderkit.settings import PREFIX

LONGEST_S = 3600
FLOOR = 85
"""Percent of the domains' lines, as `./check` wants it; a test compares the two."""
DEMO_ARGUMENTS = ("demo", "--exit")
DEMO_KEPT = ("agree", "seconds", "orders", "outcomes", "checks", "acts")
"""Of what it counts; the rest are places and passwords, which died with it."""
DEMO_WIDTH = 96
"""Columns of the demo's output: what fits a page in a legible size."""


class NotMade(Exception):
    """Why there is no such evidence, in a line."""


def collect(store: Store, names: Sequence[str], each: Callable[[str], None] = lambda _: None) -> dict[str, str]:
    """Makes each of `names`, which have a command that makes them, and keeps it; of those that could not be made, why.

    `each` is told a name before it is made.
    """
    failed = {}
    for name in names:
        each(name)
        try:
            store.keep(MAKERS[name](name))
        except NotMade as error:
            failed[name] = str(error)
    return failed


def _demo(name: str) -> Piece:
    """What `orderkit demo --exit` prints where nobody looks, and what it counts."""
    lines = _run([sys.executable, "-m", "orderkit", *DEMO_ARGUMENTS], 120)
    counts = json.loads(_run([sys.executable, "-m", "orderkit", *DEMO_ARGUMENTS, "--json"], 120))
    kept = {name: counts[name] for name in DEMO_KEPT}
    # What it says to do next names the paths of this machine.
    told = lines.split("\nNext, ")[0].rstrip()
    return stamped(name, {"text": told, "counts": kept}, f"orderkit {' '.join(DEMO_ARGUMENTS)}")


def _by_load_test(name: str) -> Piece:
    module = DEAR[name].split()[2]  # python -m MODULE …
    return _by_checkout(name, ["-m", module, "--evidence"])


def _by_tests(name: str) -> Piece:
    """The tests with what they cover; they write the evidence themselves."""
    arguments = ["-m", "pytest", "-q", "-n", "2", "--cov", "--cov-report=", f"--cov-fail-under={FLOOR}", "--evidence"]
    return _by_checkout(name, arguments)


def _by_checkout(name: str, arguments: Sequence[str]) -> Piece:
    if not stamps.is_checkout():
        raise NotMade("tests and load tests come with a checkout only")
    with tempfile.TemporaryDirectory(prefix="orderkit-evidence-") as folder:
        file = Path(folder) / f"{name}.json"
        _run([sys.executable, *arguments, str(file)], LONGEST_S, may_fail=file)
        return read(file)


MAKERS: Mapping[str, Callable[[str], Piece]] = {
    "coverage": _by_tests,
    "load": _by_load_test,
    "overload": _by_load_test,
    "reports": _by_load_test,
    "seeding": _by_load_test,
    "demo": _demo,
}


def _run(command: Sequence[str], seconds: int, may_fail: Path | None = None) -> str:
    """What it printed. Raises NotMade with its last line where it failed, unless it wrote `may_fail` all the same: a run that
    fell short of its goal is evidence too.
    """
    try:
        done = subprocess.run(  # noqa: S603 - our own commands
            command, env=_environment(), cwd=_where(), capture_output=True, text=True, timeout=seconds, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotMade(f"was not done within {seconds} s") from None
    if done.returncode and not (may_fail is not None and may_fail.exists()):
        last = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise NotMade(last[-1] if last else f"exit code {done.returncode}")
    return done.stdout


def _where() -> Path:
    return stamps.ROOT if stamps.is_checkout() else Path(tempfile.gettempdir())


def _environment() -> dict[str, Any]:
    """Without the settings of this installation, which are none of a measurement's business, and in a known width."""
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    path = os.pathsep.join([str(stamps.ROOT), *filter(None, [ours.get("PYTHONPATH")])])
    return ours | {"COLUMNS": str(DEMO_WIDTH), "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8", "PYTHONPATH": path}
