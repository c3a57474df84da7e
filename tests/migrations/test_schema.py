"""What the migrations make is what the models say, on both engines, to the last constraint."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from orderkit import migrating
from orderkit.assets import asset
from orderkit.db import Database
from orderkit.schema import metadata
from tests.migrations.definitions import definitions

VERSIONS = sorted((asset("migrations") / "versions").glob("*.py"))


def test_the_models_and_the_migrations_have_no_difference_that_alembic_can_see(database: Database) -> None:
    with database.reading() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), metadata) == []


def test_every_column_constraint_and_index_is_what_the_models_would_make(database: Database, empty: Database) -> None:
    with empty.transaction() as session:
        metadata.create_all(session.connection())
    made = definitions(empty)
    assert len(made) > 200
    assert any("ck_payments_refunded_at_most_amount" in line for line in made)
    assert any("uq_dead_letters_open" in line and "resolved_at IS NULL" in line for line in made)
    assert definitions(database) == made


def test_every_constraint_and_index_has_a_name_that_is_the_same_on_both_engines(database: Database) -> None:
    names: set[str] = set()
    with database.reading() as session:
        inspector = inspect(session.connection())
        for table in metadata.tables:
            keys = [inspector.get_pk_constraint(table), *inspector.get_foreign_keys(table)]
            more = [*inspector.get_check_constraints(table), *inspector.get_unique_constraints(table)]
            named = {str(one["name"]) for one in [*keys, *more, *inspector.get_indexes(table)]}
            assert all(re.match(rf"(pk|fk|ck|uq|ix)_{table}", name) for name in named), named
            names |= named
    of_models = {str(one.name) for table in metadata.tables.values() for one in table.constraints}
    of_models |= {str(one.name) for table in metadata.tables.values() for one in table.indexes}
    assert names == of_models


def test_down_to_nothing_and_up_again_is_the_same(empty: Database) -> None:
    migrating.migrate(empty)
    first = definitions(empty)
    assert migrating.migrate(empty, "base") == (migrating.head(), None)
    assert definitions(empty) == set()
    migrating.migrate(empty)
    assert definitions(empty) == first


def test_each_step_down_and_up_again_is_the_same(empty: Database) -> None:
    steps = ["base", *migrating.revisions()]
    after: list[set[str]] = []
    for step in steps:
        migrating.migrate(empty, step)
        after.append(definitions(empty))
    for step, expected in reversed(list(zip(steps, after, strict=True))):
        migrating.migrate(empty, step)
        assert definitions(empty) == expected, step


def test_the_numbers_in_the_file_names_are_the_history() -> None:
    script = ScriptDirectory(str(asset("migrations")))
    history = [one.revision for one in script.walk_revisions()][::-1]
    assert list(migrating.revisions()) == history
    assert history == [f"{number:04}" for number in range(1, len(history) + 1)]
    assert script.get_heads() == [migrating.head()]


@pytest.mark.parametrize("path", VERSIONS, ids=lambda path: path.stem)
def test_a_migration_stands_alone(path: Path) -> None:
    tree = ast.parse(path.read_text())
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert not {name for name in imported if name.split(".")[0] in ("orderkit", "sqlmodel")}
