"""What a load test found, as evidence for the print pack: `--evidence FILE`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from orderkit.print_pack.evidence import stamped, write


def offer(parser: argparse.ArgumentParser) -> None:
    """Adds the option."""
    parser.add_argument(
        "--evidence", type=Path, metavar="FILE", help="also write the figures there, as JSON for orderkit print-pack"
    )


def keep(chosen: argparse.Namespace, name: str, data: dict[str, Any]) -> None:
    """Writes `data` where it was asked for. With it what the machine had to do besides, which says how much it is worth."""
    if chosen.evidence is None:
        return
    told = {"cores": os.cpu_count(), "load_after": round(os.getloadavg()[0], 1), **data}
    write(stamped(name, told, command(sys.argv)), chosen.evidence)
    print(f"evidence in {chosen.evidence}")


def command(arguments: Sequence[str]) -> str:
    """What makes the same again, from the arguments of this process: without where to keep it, and without paths."""
    left, skipped = [], False
    for one in arguments[1:]:
        if not skipped and not one.startswith("--evidence"):
            left.append(one)
        skipped = one == "--evidence"
    return " ".join([f"python -m loadtests.{Path(arguments[0]).stem}", *left])
