"""The audit log: written with the change or not at all, read newest first by its indexes, and never changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session

import orderkit
from orderkit.auth import audit_log
from orderkit.auth.audit_log import Actor, Entry, Position
from orderkit.clock import moved, now
from orderkit.db import Database
from orderkit.ids import new_id
from orderkit.observability import context

PACKAGE = Path(orderkit.__file__).parent


def record(session: Session, subject: str = "role:support", **detail: object) -> None:
    audit_log.record(session.connection(), Actor(None, "a test"), "role.permissions_changed", subject, **detail)


def read(
    session: Session, *, limit: int = 100, subject: str | None = None, after: Position | None = None
) -> list[Entry]:
    return list(audit_log.page(session.connection(), limit=limit, subject=subject, after=after))


def test_an_entry_says_who_when_what_and_from_where(rolled_back: Session) -> None:
    before, admin = now(), new_id()
    ids = context.begin("a-request", None)
    audit_log.record(
        rolled_back.connection(), Actor(admin, "192.0.2.7"), "role.permissions_changed", "role:support", added=["a"]
    )
    [entry] = read(rolled_back)
    assert (entry.actor_id, entry.source, entry.request_id) == (admin, "192.0.2.7", ids.request_id)
    assert (entry.action, entry.subject, entry.detail) == ("role.permissions_changed", "role:support", {"added": ["a"]})
    assert before <= entry.at <= now()


def test_an_entry_goes_with_its_change(database: Database) -> None:
    def fail() -> None:
        with database.transaction() as session:
            record(session)
            raise RuntimeError("the change failed after all")

    with pytest.raises(RuntimeError):
        fail()
    with database.reading() as session:
        assert read(session) == []


def test_pages_go_back_in_time_and_miss_nothing_of_one_instant(
    rolled_back: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now()
    monkeypatch.setattr(audit_log, "now", lambda: at)
    for number in range(3):
        record(rolled_back, number=number)
    with moved(timedelta(days=-1)):
        monkeypatch.undo()
        record(rolled_back, number=-1)

    seen: list[Entry] = []
    while page := read(rolled_back, limit=2, after=seen[-1].position if seen else None):
        seen += page

    assert [one.detail["number"] for one in seen] == [2, 1, 0, -1]
    assert len({one.id for one in seen}) == 4


def test_a_subject_has_a_list_of_its_own(rolled_back: Session) -> None:
    for number, subject in enumerate(("role:support", "role:supporter", "role:support", "user:1")):
        record(rolled_back, subject, number=number)
    assert [one.detail["number"] for one in read(rolled_back, subject="role:support")] == [2, 0]
    [first] = read(rolled_back, subject="role:support", limit=1)
    assert [one.detail["number"] for one in read(rolled_back, subject="role:support", after=first.position)] == [0]
    assert read(rolled_back, subject="role:nobody") == []


@pytest.mark.parametrize("is_first", [True, False], ids=["first page", "next page"])
@pytest.mark.parametrize(("subject", "index"), [(None, "ix_audit_log_at"), ("role:support", "ix_audit_log_subject")])
def test_a_page_is_read_from_the_end_of_its_index(
    database: Database, subject: str | None, index: str, is_first: bool
) -> None:
    after = None if is_first else Position(now(), new_id())
    query = audit_log._newest(subject, after).limit(20)
    with database.reading() as session:
        connection = session.connection()
        compiled = query.compile(connection, compile_kwargs={"literal_binds": True})
        if database.is_sqlite:
            plan = connection.execute(text(f"EXPLAIN QUERY PLAN {compiled}")).all()
        else:
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))  # what an empty table would get
            plan = connection.execute(text(f"EXPLAIN {compiled}")).all()
    assert index in str(plan)
    assert "SORT" not in str(plan).upper()
    assert "TEMP B-TREE" not in str(plan).upper()


# ── nothing changes or deletes an entry ──────────────────────────────────────────────────────────────────────────────


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE).as_posix(), ast.parse(file.read_text(encoding="utf-8"))


def words(tree: ast.Module) -> set[str]:
    """Names, attributes and imported names in the code of a module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.add(node.name)
    return found


def test_only_the_log_knows_its_table_and_it_only_adds_and_reads() -> None:
    """OWASP ASVS 5.0 V16.4.2: nothing that can change or delete an entry is in the product, but for where it came from."""
    knowing = {name for name, tree in modules() if "AuditEntry" in words(tree)}
    assert knowing == {"auth/audit_log.py", "auth/audit_sources.py"}
    [log] = [tree for name, tree in modules() if name == "auth/audit_log.py"]
    assert {"insert", "select"} <= words(log)
    assert not {"update", "delete", "text", "exec_driver_sql", "merge"} & words(log)


def test_what_is_changed_of_an_entry_is_its_source_and_nothing_else() -> None:
    """GDPR, article 17, of an address; OWASP ASVS 5.0 V16.4.2, of all else."""
    [sources] = [tree for name, tree in modules() if name == "auth/audit_sources.py"]
    calls = [node for node in ast.walk(sources) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    [values] = [node for node in calls if isinstance(node.func, ast.Attribute) and node.func.attr == "values"]
    assert ([one.arg for one in values.keywords], values.args) == (["source"], [])
    assert not {"insert", "delete", "exec_driver_sql", "merge"} & words(sources)


def test_no_statement_anywhere_is_written_against_its_table() -> None:
    """OWASP ASVS 5.0 V16.4.2."""
    naming = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        if "audit_log" in node.value and any(word in node.value.upper() for word in ("UPDATE ", "DELETE ", "TRUNCATE"))
    }
    assert naming == set()
