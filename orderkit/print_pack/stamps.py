"""What was run, and on what: the commit and the machine that evidence is from."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from pathlib import Path

import orderkit

ROOT = Path(orderkit.__file__).resolve().parents[1]
"""Of a checkout. Of an installed wheel it is where packages are, and of no use."""
PROGRAM = ("orderkit", "migrations")
"""What changes the program when it is changed; the rest of a checkout does not."""
GIT_S = 10


def is_checkout() -> bool:
    return (ROOT / "pyproject.toml").exists() and (ROOT / "tests").is_dir()


def revision() -> str:
    """The commit of the checkout, ", with changes" where the program differs from it; of a wheel "as installed"."""
    if not is_checkout() or not (ROOT / ".git").exists():
        return "as installed"
    try:
        short = _git("rev-parse", "--short=10", "HEAD")
        changed = _git("status", "--porcelain", "--", *PROGRAM)
    except (OSError, subprocess.SubprocessError):
        return "not known"
    return f"{short}, with changes" if changed else short


def machine() -> str:
    """Cores, processor, memory, system and Python, on one line. Names no host."""
    cpu, memory = platform.processor() or platform.machine(), ""
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                # Trademarks would take a second line of each foot.
                cpu = re.sub(r"\((R|TM)\)| Processor\b| CPU\b", "", line.partition(":")[2]).strip()
                break
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return f"{os.cpu_count()} cores ({cpu}){memory}, {platform.system()}, Python {platform.python_version()}"


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)  # noqa: S603
    return done.stdout.strip()
