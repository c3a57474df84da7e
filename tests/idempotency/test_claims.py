"""Claiming, finishing, releasing and forgetting keys in the database."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlmodel import Session, func, select

from orderkit import idempotency
from orderkit.db import Database
from orderkit.idempotency import Answer, Claim, IdempotencyKey, KeyId
from orderkit.ids import new_id
from tests.engines import on_postgresql
from tests.threads import at_once

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LEASE = timedelta(seconds=10)


@pytest.fixture
def connection(rolled_back: Session) -> Connection:
    return rolled_back.connection()


def claim(connection: Connection, claims: Iterable[Claim], at: datetime = NOW) -> dict[KeyId, Any]:
    return idempotency.claim(connection, claims, at=at, lease=LEASE)


def a_claim(key: KeyId | None = None, fingerprint: str = "same") -> Claim:
    return Claim(key or KeyId(new_id(), new_id().hex), fingerprint, new_id())


def finish(connection: Connection, answers: dict[KeyId, Answer]) -> dict[KeyId, Answer]:
    idempotency.store(connection, answers)
    return idempotency.stored(connection, answers)


def test_a_free_key_is_claimed_for_the_length_of_a_lease(connection: Connection) -> None:
    one = a_claim()
    row = claim(connection, [one])[one.id]
    assert (row.resource_id, row.fingerprint) == (one.resource_id, "same")
    assert (row.created_at, row.lease_until) == (NOW, NOW + LEASE)
    assert (row.status_code, row.body) == (None, None)


def test_a_taken_key_stays_whose_it_is(connection: Connection) -> None:
    first = a_claim()
    claim(connection, [first])
    late = a_claim(first.id, "other")
    row = claim(connection, [late], at=NOW + timedelta(days=1))[first.id]
    assert (row.resource_id, row.fingerprint, row.created_at) == (first.resource_id, "same", NOW)


def test_one_batch_claims_what_is_free_and_finds_what_is_not(connection: Connection) -> None:
    taken = a_claim()
    claim(connection, [taken])
    batch = [a_claim(), a_claim(taken.id), a_claim(), a_claim()]
    found = claim(connection, batch)
    owners = {key: row.resource_id for key, row in found.items()}
    assert owners == {one.id: taken.resource_id if one.id == taken.id else one.resource_id for one in batch}


def test_a_batch_takes_one_statement_however_many_keys_it_has_and_another_only_if_one_is_taken(
    connection: Connection,
) -> None:
    statements: list[str] = []

    @event.listens_for(connection, "before_cursor_execute")
    def _(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        statements.append(statement.split()[0])

    batch = [a_claim() for _ in range(64)]
    claim(connection, batch)
    assert statements == ["INSERT"]
    claim(connection, [*(a_claim() for _ in range(63)), a_claim(batch[0].id)])
    assert statements == ["INSERT", "INSERT", "SELECT"]


def test_the_same_text_from_another_user_is_another_key(connection: Connection) -> None:
    one, other = a_claim(KeyId(new_id(), "key")), a_claim(KeyId(new_id(), "key"))
    found = claim(connection, [one, other])
    assert [found[each.id].resource_id for each in (one, other)] == [one.resource_id, other.resource_id]


def test_keys_of_users_who_share_texts_are_not_mixed_up(connection: Connection) -> None:
    users = [new_id(), new_id()]
    crossed = [a_claim(KeyId(user, text)) for user in users for text in ("a", "b")]
    claim(connection, crossed)
    wanted = [crossed[0].id, crossed[3].id]
    assert list(idempotency.find(connection, wanted)) == wanted


@pytest.mark.parametrize("text", ['"', "a,b", "{}", "\\", "NULL", "~!@#$%^&*()_+", "x" * 255])
def test_any_visible_text_is_a_key(connection: Connection, text: str) -> None:
    batch = [a_claim(KeyId(new_id(), text)), a_claim()]
    assert set(claim(connection, batch)) == {one.id for one in batch}
    assert set(idempotency.find(connection, [batch[0].id])) == {batch[0].id}


def test_nothing_is_found_of_nothing(connection: Connection) -> None:
    assert claim(connection, []) == {}
    assert idempotency.find(connection, []) == {}


def test_the_first_answer_stays_and_everyone_gets_it(connection: Connection) -> None:
    one, other = a_claim(), a_claim()
    claim(connection, [one, other])
    first = {one.id: Answer(201, '{"first":true}')}
    assert finish(connection, first) == first
    second = {one.id: Answer(402, "late"), other.id: Answer(202, "{}")}
    assert finish(connection, second) == {**first, other.id: Answer(202, "{}")}
    row = idempotency.find(connection, [one.id])[one.id]
    assert (row.status_code, row.body) == (201, '{"first":true}')


def test_an_answer_to_a_forgotten_key_is_given_all_the_same(connection: Connection) -> None:
    gone = {a_claim().id: Answer(201, "{}")}
    assert finish(connection, gone) == gone
    assert idempotency.find(connection, list(gone)) == {}


def test_a_released_key_is_free_again(connection: Connection) -> None:
    one, other = a_claim(), a_claim()
    claim(connection, [one, other])
    idempotency.release(connection, [one.id])
    again = a_claim(one.id)
    assert claim(connection, [again])[one.id].resource_id == again.resource_id
    assert idempotency.find(connection, [other.id])[other.id].resource_id == other.resource_id


def test_old_keys_are_forgotten_oldest_first_and_no_more_than_asked(connection: Connection) -> None:
    ages = [a_claim() for _ in range(5)]
    for days, one in enumerate(ages):
        claim(connection, [one], at=NOW - timedelta(days=days))
    assert idempotency.forget(connection, before=NOW, limit=3) == 3
    assert set(idempotency.find(connection, [one.id for one in ages])) == {ages[0].id, ages[1].id}
    assert idempotency.forget(connection, before=NOW) == 1
    assert idempotency.forget(connection, before=NOW) == 0
    assert set(idempotency.find(connection, [one.id for one in ages])) == {ages[0].id}


@on_postgresql
def test_whoever_waits_for_a_key_holds_none_that_comes_after_it(database: Database) -> None:
    user = new_id()
    first, second = a_claim(KeyId(user, "1")), a_claim(KeyId(user, "2"))

    def claim_both() -> None:
        with database.transaction() as session:
            claim(session.connection(), [a_claim(second.id), a_claim(first.id)])

    waiting = threading.Thread(target=claim_both)
    with database.transaction() as session:
        claim(session.connection(), [first])
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
        with database.transaction() as other:
            other.connection().exec_driver_sql("SET LOCAL lock_timeout = '100ms'")
            found = claim(other.connection(), [second])
        assert found[second.id].resource_id == second.resource_id
    waiting.join(10)
    assert not waiting.is_alive()


@on_postgresql
def test_batches_of_the_same_keys_in_another_order_do_not_deadlock(database: Database) -> None:
    user = new_id()
    keys = [KeyId(user, f"key-{number}") for number in range(8)]
    rounds = 30
    barrier = threading.Barrier(2, timeout=20)

    def claims(step: int) -> Callable[[], list[int]]:
        def act() -> list[int]:
            got = []
            for number in range(rounds):
                mine = [Claim(KeyId(user, f"{key.key}-{number}"), "same", new_id()) for key in keys[::step]]
                barrier.wait()
                with database.transaction() as session:
                    rows = claim(session.connection(), mine)
                got.append(sum(rows[one.id].resource_id == one.resource_id for one in mine))
            return got

        return act

    one, other = at_once(claims(1), claims(-1))
    each_round = {tuple(sorted(pair)) for pair in zip(one, other, strict=True)}
    assert each_round == {(0, len(keys))}, "one has all the keys, and the other none"
    with database.reading() as session:
        assert session.exec(select(func.count()).select_from(IdempotencyKey)).one() == rounds * len(keys)


@on_postgresql
def test_a_key_that_is_given_up_while_another_waits_for_it_is_the_others(database: Database) -> None:
    first = a_claim()
    second = a_claim(first.id)
    claimed: list[Any] = []

    def wait_for_it(mine: Claim) -> None:
        with database.transaction() as session:
            claimed.append(claim(session.connection(), [mine])[mine.id].resource_id == mine.resource_id)

    waiting = threading.Thread(target=wait_for_it, args=(second,))
    with database.transaction() as session:
        claim(session.connection(), [first])
        waiting.start()
        waiting.join(0.3)
        assert claimed == []
        idempotency.release(session.connection(), [first.id])
    waiting.join(10)
    assert claimed == [True]
