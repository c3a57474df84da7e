"""Migrating itself: all or nothing, one at a time, impatient for locks, patient for others who migrate."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial

import pytest
from alembic import command
from sqlalchemy import inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from orderkit import migrating
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings
from tests.factories import make_product, make_user, place_order
from tests.migrations.conftest import History
from tests.migrations.definitions import definitions
from tests.threads import at_once


def tables(database: Database) -> set[str]:
    with database.reading() as session:
        return set(inspect(session.connection()).get_table_names())


def test_a_new_database_goes_to_the_newest_revision_and_a_second_time_changes_nothing(empty: Database) -> None:
    assert migrating.current(empty) is None
    assert migrating.migrate(empty) == (None, migrating.head())
    assert migrating.migrate(empty) == (migrating.head(), migrating.head())
    assert migrating.current(empty) == migrating.head()


def test_two_at_once_do_it_once(open_empty: Callable[..., Database]) -> None:
    outcomes = at_once(*(partial(migrating.migrate, open_empty()) for _ in range(4)))
    head = migrating.head()
    assert sorted(outcomes, key=str) == [(head, head)] * 3 + [(None, head)]


def test_whoever_waits_for_another_who_migrates_is_patient(open_empty: Callable[..., Database]) -> None:
    first, second = open_empty(), open_empty(db_timeout=0.5)
    if first.is_sqlite:
        second = open_empty()  # SQLite has one bound, for every wait
    outcome: list[object] = []
    with first.changing_schema() as session:
        session.connection()
        if not first.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:alone)"), {"alone": migrating._ALONE})
        waiting = threading.Thread(target=lambda: outcome.append(migrating.migrate(second)))
        waiting.start()
        waiting.join(1.0)
        assert waiting.is_alive()
        assert outcome == []
    waiting.join(10)
    assert outcome == [(None, migrating.head())]


def test_a_table_that_is_in_use_is_given_up_after_the_lock_timeout(
    open_empty: Callable[..., Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrating, "LOCK_TIMEOUT_S", 0.2)
    user, migrator = open_empty(), open_empty(db_timeout=0.2)
    migrating.migrate(migrator)
    with user.transaction() as session:
        # Any reader holds a lock that DROP TABLE waits for; on SQLite the one writer does.
        session.execute(text("SELECT count(*) FROM leases"))
        started = time.monotonic()
        with pytest.raises(OperationalError, match=r"lock timeout|database is locked"):
            migrating.migrate(migrator, "base")
        assert 0.2 <= time.monotonic() - started < 3
    assert migrating.current(migrator) == migrating.head()
    assert "users" in tables(migrator)


def test_a_lock_timeout_of_five_seconds_is_set_while_a_migration_runs_and_not_after(
    open_empty: Callable[..., Database], history: History
) -> None:
    database = open_empty(db_timeout=2)
    if database.is_sqlite:
        assert "lock_timeout" not in migrating.sql(database)
        return
    history.add(
        """
        op.create_table("seen", sa.Column("setting", sa.Text()))
        op.execute("INSERT INTO seen SELECT current_setting('lock_timeout')")
        op.execute("INSERT INTO seen SELECT current_setting('statement_timeout')")
        """
    )
    migrating.migrate(database)
    with database.reading() as session:
        assert session.execute(text("SELECT setting FROM seen")).scalars().all() == ["5s", "0"]
        assert session.execute(text("SHOW lock_timeout")).scalar() == "2s"
    assert migrating.sql(database).startswith("SET lock_timeout = '5s';")


def test_a_migration_that_fails_leaves_nothing_behind(migrated: Database, history: History) -> None:
    before = tables(migrated)
    history.add(
        """
        op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
        raise RuntimeError("half way")
        """
    )
    with pytest.raises(RuntimeError, match="half way"):
        migrating.migrate(migrated)
    assert tables(migrated) == before
    below, above = migrating.revisions()[-2:]
    with pytest.raises(ConfigurationError, match=f"is at revision {below}, not {above}; run: orderkit migrate"):
        migrating.require_current(migrated)


LEAST = """
with op.batch_alter_table("users") as users:
    users.drop_constraint(op.f("ck_users_token_version_not_negative"), type_="check")
    users.create_check_constraint(op.f("ck_users_token_version_not_negative"), "token_version >= {least}")
"""


def test_a_table_that_others_refer_to_can_be_changed_on_both_engines(migrated: Database, history: History) -> None:
    user, product = make_user(migrated), make_product(migrated)
    settings = Settings()
    place_order(migrated, settings, user, product.sku)
    before, defined = migrating.head(), definitions(migrated)
    history.add(LEAST.format(least=-1), LEAST.format(least=0))
    with pytest.raises(IntegrityError, match="token_version_not_negative"):
        make_user(migrated, token_version=-1)

    migrating.migrate(migrated)
    place_order(migrated, settings, make_user(migrated, token_version=-1), product.sku)
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"), migrated.transaction() as session:
        session.delete(session.get_one(User, user.id))

    with migrated.transaction() as session:
        session.execute(text("UPDATE users SET token_version = 0"))
    migrating.migrate(migrated, before)
    assert migrating.current(migrated) == before
    assert definitions(migrated) == defined, "no constraint was lost on the way"
    with migrated.reading() as session:
        assert session.get_one(User, user.id).email == user.email


def test_a_migration_that_would_leave_a_row_without_its_parent_is_not_kept(
    migrated: Database, history: History
) -> None:
    place_order(migrated, Settings(), make_user(migrated), make_product(migrated).sku)
    history.add('op.execute("DELETE FROM users")')
    with pytest.raises((RuntimeError, IntegrityError), match=r"refers to a row of users|violates foreign key"):
        migrating.migrate(migrated)
    with migrated.reading() as session:
        assert session.execute(text("SELECT count(*) FROM users")).scalar() == 1


def test_old_code_runs_on_a_newer_schema(empty: Database, history: History) -> None:
    newer = history.add('op.create_table("newer", sa.Column("id", sa.Integer(), primary_key=True))')
    migrating.migrate(empty)
    history.forget()
    migrating.require_current(empty)
    assert migrating.migrate(empty) == (newer, newer), "an older image's migrate has nothing to do"
    assert "newer" in tables(empty)


def test_a_revision_that_is_nobodys_is_not_taken_for_newer(empty: Database) -> None:
    migrating.migrate(empty)
    with empty.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = 'ab12cd34'"))
    with pytest.raises(ConfigurationError, match="is at revision ab12cd34, not"):
        migrating.require_current(empty)
    with pytest.raises(ConfigurationError, match=r"cannot migrate to head: .*ab12cd34"):
        migrating.migrate(empty)


def test_an_unmigrated_database_says_what_to_run(empty: Database) -> None:
    with pytest.raises(ConfigurationError, match="has no tables yet; run: orderkit migrate"):
        migrating.require_current(empty)
    assert tables(empty) == set(), "asking makes nothing"


@pytest.mark.parametrize("to", ["9999", "-1", "", "heads"])
def test_a_revision_that_does_not_exist_is_named_with_those_that_do(empty: Database, to: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"there is no revision {to}; there are base, 0001, .*head"):
        migrating.migrate(empty, to)
    with pytest.raises(ConfigurationError):
        migrating.sql(empty, to)


def test_the_sql_makes_the_same_tables(empty: Database, database: Database) -> None:
    script = migrating.sql(empty)
    with empty.changing_schema() as session:
        driver = session.connection().connection.dbapi_connection
        for statement in _without_transaction(script):
            driver.execute(statement)  # type: ignore[union-attr]
    assert migrating.current(empty) == migrating.head()
    assert tables(empty) == tables(database)


def _without_transaction(script: str) -> list[str]:
    lines = [line for line in script.splitlines() if not line.startswith("--")]
    statements = [one.strip() for one in "\n".join(lines).split(";")]
    return [one for one in statements if one not in ("", "BEGIN", "COMMIT")]


def test_a_migration_made_from_the_template_runs(empty: Database, history: History) -> None:
    number = f"{int(migrating.head()) + 1:04}"
    command.revision(migrating._config(), "add nothing", rev_id=number)
    migrating.revisions.cache_clear()
    assert migrating.migrate(empty) == (None, number)
    [made] = history.folder.glob(f"versions/{number}_add_nothing.py")
    assert "Does the code that runs now still work on the new schema?" in made.read_text()


def test_asking_whether_a_database_is_current_does_not_import_alembic(database: Database) -> None:
    code = (
        "import sys; from orderkit.db import Database; from orderkit.migrating import require_current;"
        "from orderkit.settings import Settings;"
        f"require_current(Database(Settings(database_url={database.url.render_as_string(hide_password=False)!r})));"
        "assert 'alembic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
