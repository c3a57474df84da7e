"""`orderkit migrate`."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

from orderkit import migrating
from orderkit.cli.migrate import app
from orderkit.errors import ConfigurationError

runner = CliRunner()


@pytest.fixture
def url(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("ORDERKIT_DATABASE_URL", empty_database_url)
    return empty_database_url


def test_check_holds_after_migrating_and_not_before(url: str) -> None:
    before = runner.invoke(app, ["--check"])
    assert (before.exit_code, before.stdout) == (1, "")
    what = r"the database has no tables yet|there is no database /.+"
    assert re.fullmatch(rf"({what}); run: orderkit migrate.*\n", before.stderr)

    migrated = runner.invoke(app, [])
    assert (migrated.exit_code, migrated.stdout) == (0, f"the database is now at revision {migrating.head()}\n")

    after = runner.invoke(app, ["--check"])
    assert (after.exit_code, after.stdout) == (0, f"the database is up to date, at revision {migrating.head()}\n")

    again = runner.invoke(app, [])
    assert (again.exit_code, again.stdout) == (0, f"the database is already at revision {migrating.head()}\n")


def test_to_goes_down_as_well_as_up(url: str) -> None:
    assert runner.invoke(app, ["--to", "0001"]).exit_code == 0
    down = runner.invoke(app, ["--to", "base"])
    assert (down.exit_code, down.stdout) == (0, "the database is now at revision base\n")
    assert runner.invoke(app, ["--check"]).exit_code == 1


def test_a_revision_that_does_not_exist_is_wrong_use(url: str) -> None:
    result = runner.invoke(app, ["--to", "1066"])
    assert isinstance(result.exception, ConfigurationError)


def test_sql_is_printed_and_not_run(url: str) -> None:
    printed = runner.invoke(app, ["--sql"])
    assert printed.exit_code == 0
    assert "CREATE TABLE orders (" in printed.stdout
    assert "CONSTRAINT ck_orders_version_positive CHECK (version >= 1)" in printed.stdout
    assert runner.invoke(app, ["--check"]).exit_code == 1
