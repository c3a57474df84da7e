"""What the README tells people to paste does what it says there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orderkit.demo.processes import free_port

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks() -> list[str]:
    """The commands under "Ten things to do next", in order."""
    section = README[README.index("## Ten things to do next") : README.index("## More than one machine")]
    return re.findall(r"^\*\*\d+\. .*?^```sh\n(.*?)^```$", section, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a clone after the first command: a virtual environment with orderkit in it, and the examples."""
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f'PATH="{binaries}:$PATH"\n')
    (binaries / "orderkit").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m orderkit "$@"\n')
    (binaries / "orderkit").chmod(0o755)
    (binaries / "python3").symlink_to(sys.executable)
    shutil.copytree(ROOT / "docs" / "examples", tmp_path / "docs" / "examples")
    return tmp_path


@pytest.mark.integration
def test_the_ten_things_do_what_they_say(folder: Path) -> None:
    port = free_port()
    said = "\n".join(f"echo '== {number}'\n{block}" for number, block in enumerate(blocks(), start=1))
    # Somebody may use the port, and nobody wants to sit through the carrier's pauses.
    said = said.replace(":8000", f":{port}").replace("orderkit serve", f"orderkit serve --port {port}")
    stop = "for job in $(jobs -p); do kill $job; wait $job; done"
    script = f"set -euo pipefail\ntrap '{stop}' EXIT\n{said}\necho '== end'\n{stop}\ntrap - EXIT\n"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ORDERKIT_RETRY_BASE": "0.05"}
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    out = re.split(r"^== \w+\n", done.stdout, flags=re.MULTILINE)
    assert len(out) == 12
    assert "created admin@example.com (admin)" in out[2]
    assert '"sku":"TEA-001"' in out[4]
    assert '"email":"customer@example.com"' in out[5]
    assert "201 Created" in out[6]
    assert "idempotent-replayed: true" in out[7]
    assert '"stock":8' in out[7]
    assert '"status":"shipped"' in out[8]
    assert "discarded; its order is cancelled" in out[9]
    assert re.search(r"\b7 orders created", out[10])
    assert (folder / ".orderkit" / "rejects.csv").exists()


def test_there_are_ten_things() -> None:
    assert len(blocks()) == 10


def test_every_page_and_picture_it_names_is_there() -> None:
    named = re.findall(r"\]\(([^)#]+)\)", README)
    assert "docs/images/demo.svg" in named
    assert [name for name in named if not name.startswith("http") and not (ROOT / name).exists()] == []
