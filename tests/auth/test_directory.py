"""The search for users costs the same however many there are: each branch walks its index, in order, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Select, text
from sqlalchemy.orm import Session

from orderkit.auth import directory, enrolment
from orderkit.auth.directory import Position
from orderkit.ids import new_id

USERS = 3000
BY_EMAIL, BY_NAME = "ix_users_email_search", "ix_users_name_search"


@pytest.fixture
def crowd(rolled_back: Session) -> Session:
    people = {f"user{number:05}@example.com": f"Person {number % 500:03} {number}" for number in range(USERS)}
    enrolment.enrol(rolled_back.connection(), people)
    rolled_back.execute(text("ANALYZE users" if _is_postgresql(rolled_back) else "ANALYZE"))
    return rolled_back


def _is_postgresql(session: Session) -> bool:
    return session.connection().dialect.name == "postgresql"


def plan(session: Session, query: Select[Any]) -> str:
    compiled = query.limit(21).compile(session.connection(), compile_kwargs={"render_postcompile": True})
    explain = "EXPLAIN (COSTS OFF) " if _is_postgresql(session) else "EXPLAIN QUERY PLAN "
    parameters: Any = compiled.construct_params()
    if not _is_postgresql(session):
        processed: Any = compiled._bind_processors
        bound = {name: processed[name](value) if name in processed else value for name, value in parameters.items()}
        parameters = tuple(bound[name] for name in compiled.positiontup or [])
    rows = session.connection().exec_driver_sql(explain + str(compiled), parameters).all()
    return "\n".join(str(row[-1]) for row in rows)


BRANCHES = [
    (BY_EMAIL, "", None),
    (BY_EMAIL, "", Position("email", "user01500@example.com", new_id())),
    (BY_EMAIL, "user0", None),
    (BY_EMAIL, "user0", Position("email", "user01500@example.com", new_id())),
    (BY_NAME, "person 4", None),
    (BY_NAME, "person", Position("name", "person 250 250", new_id())),
]


def test_each_branch_walks_its_index_and_sorts_nothing(crowd: Session) -> None:
    dialect = crowd.connection().dialect.name
    for index, prefix, after in BRANCHES:
        query = directory.by_email(dialect, prefix, after) if index == BY_EMAIL else directory.by_name(prefix, after)
        told = f"{index}, {prefix!r} after {after}:\n{plan(crowd, query)}"
        if dialect == "postgresql":
            assert f"Index Scan using {index} on users" in told, told
            assert "Sort" not in told, told
            assert "Index Cond" in told, told
        else:
            assert f"USING INDEX {index}" in told, told
            assert "SEARCH users" in told, told
            assert "TEMP B-TREE" not in told, told


def test_all_are_found_once_page_by_page(crowd: Session) -> None:
    seen: list[str] = []
    after: Position | None = None
    while True:
        found, after = directory.page(crowd.connection(), limit=100, q="user", after=after)
        seen += [one.email for one in found]
        if after is None:
            break
    assert seen == [f"user{number:05}@example.com" for number in range(USERS)]


def test_enrolled_users_are_found_by_name_whatever_its_case(crowd: Session) -> None:
    found, more = directory.page(crowd.connection(), limit=10, q="PERSON 007 ")
    assert [one.name for one in found] == sorted(f"Person 007 {number}" for number in range(7, USERS, 500))
    assert more is None
