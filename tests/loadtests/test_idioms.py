"""The ways of talking to the database, for a moment each: all of them write and read the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests.idiom_ways import WRITE
from loadtests.idioms import BASIS, Round, table

ROOT = Path(__file__).resolve().parents[2]
SHORT = ("--milliseconds", "40", "--rounds", "1", "--clients", "3")


@pytest.mark.integration
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_every_way_writes_all_rows_and_reads_whole_pages(engine: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "loadtests.idioms", "--engines", engine, *SHORT],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert (done.returncode, done.stderr) == (0, "")
    ratios = re.findall(r"(?m)^  (ORM|Core) in threads +[\d,]+ +[\d,]+ +[\d,]+ +([\d.]+)$", done.stdout)
    assert [way for way, _ratio in ratios] == ["ORM", "Core"] * 2
    assert [ratio for way, ratio in ratios if way == "Core"] == ["1.00", "1.00"]
    assert re.search(r"(?m)^  lists of 16, orderkit +[\d,]+ ", done.stdout)


def test_an_engine_that_there_is_not_is_refused() -> None:
    command = [sys.executable, "-m", "loadtests.idioms", "--engines", "oracle"]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "--engines is of postgresql,sqlite" in done.stderr


def test_ratios_are_of_rounds_that_were_next_to_each_other() -> None:
    found = {
        (WRITE, BASIS): [Round(100, 1.0, 0.1, 0.0), Round(100, 1.0, 0.4, 0.0), Round(100, 1.0, 0.2, 0.0)],
        (WRITE, "ORM in threads"): [Round(50, 1.0, 0.1, 0.05), Round(50, 1.0, 0.4, 0.05), Round(50, 1.0, 0.3, 0.05)],
    }
    by_way = {line[:30].strip(): line.split()[-4:] for line in table(found)}
    assert by_way[BASIS] == ["2,000", "0", "100", "1.00"]
    assert by_way["ORM in threads"] == ["6,000", "1,000", "50", "2.00"]
