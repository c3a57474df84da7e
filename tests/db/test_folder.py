"""Where the default database is kept."""

from __future__ import annotations

import stat
from pathlib import Path

from orderkit.db import Database
from orderkit.settings import Settings


def test_a_folder_made_for_the_database_is_its_owners_alone(tmp_path: Path) -> None:
    file = tmp_path / "home" / "orderkit.db"
    Database(Settings(_env_file=None, database_url=f"sqlite:///{file}")).dispose()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
