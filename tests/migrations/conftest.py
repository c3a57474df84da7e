"""Databases without tables, and a history that a test can continue."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orderkit import assets, migrating
from orderkit.db import Database
from orderkit.settings import Settings


@pytest.fixture
def open_empty(empty_database_url: str) -> Iterator[Callable[..., Database]]:
    """Opens the same database, which has no tables, as often as it is called."""
    opened: list[Database] = []

    def open_(**settings: float) -> Database:
        opened.append(Database(Settings(database_url=empty_database_url, **settings)))  # type: ignore[arg-type]
        return opened[-1]

    yield open_
    for database in opened:
        database.dispose()


@pytest.fixture
def empty(open_empty: Callable[..., Database]) -> Database:
    return open_empty()


@pytest.fixture
def migrated(empty: Database) -> Database:
    """A database of its own, so that a test that changes the schema and fails harms no other."""
    migrating.migrate(empty)
    return empty


class History:
    """A copy of the migrations, to which a test adds its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, upgrade: str, downgrade: str = "pass") -> str:
        """A further revision with those bodies; its number."""
        before = migrating.head()
        revision = f"{int(before) + 1:04}"
        lines = [
            "import sqlalchemy as sa",
            "from alembic import op",
            f"revision = {revision!r}",
            f"down_revision = {before!r}",
            "def upgrade():",
            textwrap.indent(textwrap.dedent(upgrade), "    "),
            "def downgrade():",
            textwrap.indent(textwrap.dedent(downgrade), "    "),
        ]
        (self.folder / "versions" / f"{revision}_of_a_test.py").write_text("\n".join(lines))
        migrating.revisions.cache_clear()
        return revision

    def forget(self) -> None:
        """Takes all that were added away again, as if an older version of orderkit ran."""
        for path in (self.folder / "versions").glob("*_of_a_test.py"):
            path.unlink()
        migrating.revisions.cache_clear()


@pytest.fixture
def history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[History]:
    folder = tmp_path / "migrations"
    shutil.copytree(assets.asset("migrations"), folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrating, "asset", lambda _name: folder)
    migrating.revisions.cache_clear()
    yield History(folder)
    migrating.revisions.cache_clear()
