"""What grows with users and their logins stays bounded, and what is asked of it again and again costs the same throughout."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Select, func, insert, select, text
from sqlalchemy.orm import Session

from orderkit import clock
from orderkit.auth import api_keys, audit_sources, directory, moderation, sessions
from orderkit.auth.models import ADMIN, CUSTOMER, ApiKey, AuditEntry, LoginSession, User, folded
from orderkit.db import Database
from orderkit.errors import Unauthenticated
from orderkit.ids import new_id
from orderkit.orders import erasure
from tests.factories import make_user
from tests.plans import analyze, is_postgresql, plan
from tests.threads import at_once

CROWD = 3000
SOME = 5
"""Of the crowd: admins, deleted, without a folded name; keys that are no longer good."""
ONE = new_id()
"""Somebody of the crowd, who has a twentieth of its logins and of its entries in the log."""


def _user(number: int) -> dict[str, Any]:
    few, at = number < SOME, clock.now()
    return {
        "id": new_id() if number else ONE,
        "email": f"user{number}@example.com",
        "name": f"Person {number}",
        "role": ADMIN if few else CUSTOMER,
        "password_hash": "x",
        "search_name": None if few else f"person {number}",
        "erase_at": at if SOME <= number < 2 * SOME else None,
        "deleted_at": at if SOME <= number < 2 * SOME else None,
        "created_at": at,
    }


def _login(number: int, user_id: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("family_hash", "refresh_hash"), "x")
    times = dict.fromkeys(("created_at", "refreshed_at", "expires_at"), clock.now() + timedelta(seconds=number))
    return {"id": new_id(), "user_id": user_id, "token_version": 0, **texts, **times}


def _key(number: int, user_id: Any) -> dict[str, Any]:
    at, long_ago = clock.now(), clock.now() - 2 * api_keys.KEPT
    return {
        "id": new_id(),
        "user_id": user_id,
        "hash": str(number),
        "permissions": [],
        "created_at": long_ago,
        "expires_at": long_ago if number < SOME else at + timedelta(days=1),
        "revoked_at": long_ago if SOME <= number < 2 * SOME else at if number % 3 else None,
        **dict.fromkeys(("name", "prefix"), "x"),
    }


def _entry(number: int, user_id: Any) -> dict[str, Any]:
    source = "erased" if number % 3 else "192.0.2.7"
    return {"id": new_id(), "actor_id": user_id, "source": source, "action": "a", "subject": "s", "detail": {}}


@pytest.fixture
def crowd(rolled_back: Session) -> Session:
    users = [_user(number) for number in range(CROWD)]
    rolled_back.execute(insert(User), users)
    of = [ONE if number % 20 == 0 else user["id"] for number, user in enumerate(users)]
    for model, make in ((LoginSession, _login), (ApiKey, _key), (AuditEntry, _entry)):
        rolled_back.execute(insert(model), [make(number, user_id) for number, user_id in enumerate(of)])
    analyze(rolled_back, "users", "sessions", "api_keys", "audit_log")
    return rolled_back


QUESTIONS: dict[str, tuple[Callable[[], Select[Any]], set[str]]] = {
    "who is to be looked at whose account is deleted": (
        lambda: erasure.due(clock.now()).limit(20),
        {"ix_users_to_erase"},
    ),
    "whether another admin is left": (lambda: moderation.other_admins(ONE).limit(1), {"ix_users_admins"}),
    "whose name is not folded": (lambda: directory.unfolded().limit(1000), {"ix_users_name_search"}),
    "where somebody was": (lambda: audit_sources.said(ONE).limit(1000), {"ix_audit_log_actor_id"}),
    "which keys are to be forgotten": (
        lambda: api_keys.no_longer_good(clock.now() - api_keys.KEPT).limit(1000),
        {"ix_api_keys_expires_at", "ix_api_keys_revoked_at"},
    ),
    "which logins are too many": (
        lambda: sessions.newest(ONE).offset(sessions.MAX_SESSIONS).limit(sessions.AT_ONCE),
        {"ix_sessions_user_id"},
    ),
}


def test_each_question_rides_its_index_and_reads_no_other_table(crowd: Session) -> None:
    for question, (query, indexes) in QUESTIONS.items():
        told = f"{question}:\n{plan(crowd, query())}"
        assert {index for index in indexes if index in told} == indexes, told
        assert "Seq Scan" not in told, told
        assert not re.search(r"SCAN \w+(?! USING INDEX)\b", told), told
        assert "orders" not in told, told


def test_a_login_more_than_there_may_be_ends_the_oldest(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    user, other = make_user(database), make_user(database)
    theirs = sessions.start(database, other, days=30).session_id
    mine = []
    for seconds in range(5):
        with clock.moved(timedelta(seconds=seconds)):
            mine.append(sessions.start(database, user, days=30))
    with database.reading() as session:
        assert set(session.scalars(select(LoginSession.__table__.c.id))) == {theirs, *(one[0] for one in mine[2:])}  # type: ignore[attr-defined]
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, mine[1].refresh_token)
    assert sessions.refresh(database, mine[2].refresh_token).session_id == mine[2].session_id


def test_many_logins_at_once_leave_as_many_as_there_may_be(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """None of them waits for another in a circle; the next login ends what those who came at once did not see."""
    monkeypatch.setattr(sessions, "MAX_SESSIONS", 3)
    user = make_user(database)
    for _ in range(3):
        at_once(*[lambda: sessions.start(database, user, days=30)] * 6)
    last = sessions.start(database, user, days=30)
    with database.reading() as session:
        assert len(session.scalars(select(LoginSession)).all()) == 3
    assert sessions.refresh(database, last.refresh_token)


def test_of_more_logins_than_one_transaction_deletes_none_is_good_after_all_were_ended(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "AT_ONCE", 2)
    user = make_user(database)
    granted = [sessions.start(database, user, days=30) for _ in range(5)]
    with database.transaction() as session:
        sessions.end_all(session.connection(), user.id, but=granted[0].session_id)
    for one in granted[1:]:
        with pytest.raises(Unauthenticated):
            sessions.refresh(database, one.refresh_token)
    assert sessions.refresh(database, granted[0].refresh_token)
    with database.reading() as session:
        assert [one.id for one in sessions.page(session.connection(), user.id, limit=10)] == [granted[0].session_id]
        assert len(session.scalars(select(LoginSession)).all()) == 3
    with clock.moved(timedelta(days=31)), database.transaction() as session:
        assert sessions.forget(session.connection(), before=clock.now()) == 3


def test_keys_that_are_no_longer_good_are_forgotten_after_a_while(crowd: Session) -> None:
    before = clock.now() - api_keys.KEPT
    connection = crowd.connection()
    assert api_keys.forget(connection, before=before, limit=7) == 7
    assert api_keys.forget(connection, before=before, limit=7) == 2 * SOME - 7
    assert api_keys.forget(connection, before=before) == 0
    assert connection.execute(select(func.count()).select_from(ApiKey)).scalar() == CROWD - 2 * SOME


NAMES = ("Straße", "Jose\u0301", "\uff21da", "x" * 200)


def test_names_that_were_stored_without_being_folded_are_folded_bit_by_bit(rolled_back: Session) -> None:
    """By code of before, say, which knows no such column; not those of the deleted."""
    connection = rolled_back.connection()
    at = clock.now()
    rows = [{"id": new_id(), "email": f"{n}@example.com", "name": name} for n, name in enumerate(NAMES)]
    gone = {"id": new_id(), "email": "gone@example.com", "name": "deleted user"}
    for row in (*rows, gone):
        rolled_back.execute(
            insert(User).values(**row, search_name=None, created_at=at, deleted_at=at if row is gone else None)
        )
    assert directory.fold_names(connection, limit=3) == 3
    assert directory.fold_names(connection, limit=3) == 1
    assert directory.fold_names(connection, limit=3) == 0
    found = {row.name: row.search_name for row in connection.execute(text("SELECT name, search_name FROM users"))}
    assert found == {name: folded(name) for name in NAMES} | {"deleted user": None}
    assert found["Straße"] == "strasse"


def test_a_name_that_is_just_being_changed_is_left_to_whoever_changes_it(database: Database) -> None:
    user = make_user(database, name="Old")
    with database.transaction() as session:
        session.execute(text("UPDATE users SET search_name = NULL"))
    with database.transaction() as session:
        session.execute(text("UPDATE users SET name = 'New', search_name = 'new'"))
        if is_postgresql(session):
            with database.transaction() as other:
                assert directory.fold_names(other.connection()) == 0
    with database.transaction() as session:
        assert directory.fold_names(session.connection()) == 0
        assert session.get_one(User, user.id).search_name == "new"
