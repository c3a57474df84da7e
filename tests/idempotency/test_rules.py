"""What makes two requests the same, and what a request gets whose key was used before."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.errors import KeyExpired, KeyInUse, KeyReused, OrderkitError
from orderkit.idempotency import Abandoned, Answer, Replay, fingerprint, judge
from orderkit.ids import new_id

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TTL = timedelta(days=30)
SECOND = timedelta(seconds=1)

_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=12,
)


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same document with its members in another order."""
    if isinstance(value, dict):
        names = rng.sample(sorted(value), len(value))
        return {name: shuffled(value[name], rng) for name in names}
    return [shuffled(one, rng) for one in value] if isinstance(value, list) else value


@given(_json, st.randoms(use_true_random=False), st.sampled_from([None, 2]), st.booleans())
def test_whitespace_order_of_members_and_escapes_are_immaterial(
    body: Any, rng: random.Random, indent: int | None, ascii_only: bool
) -> None:
    sent = json.dumps(shuffled(body, rng), indent=indent, ensure_ascii=ascii_only)
    assert fingerprint("POST", "/orders", json.loads(sent)) == fingerprint("POST", "/orders", body)


@given(_json, _json)
def test_different_bodies_have_different_fingerprints(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (fingerprint("POST", "/orders", one) == fingerprint("POST", "/orders", other)) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": True}),
        ({"a": 1}, {"a": "1"}),
        ({"a": None}, {}),
        ({"a": []}, {"a": {}}),
        ([1, 2], [2, 1]),
        ({"a": "é"}, {"a": "e\u0301"}),
        ({"a": 1}, {"a": 1.0}),
    ],
)
def test_what_looks_alike_is_not_the_same(one: Any, other: Any) -> None:
    assert fingerprint("POST", "/orders", one) != fingerprint("POST", "/orders", other)


def test_method_and_path_count() -> None:
    """draft-ietf-httpapi-idempotency-key-header-07, section 2.4."""
    sent = [(method, path) for method in ("POST", "PATCH") for path in ("/orders", "/orders/1/refunds")]
    assert len({fingerprint(method, path, {}) for method, path in sent}) == 4


@dataclass
class Row:
    """A claimed key, one second old unless told."""

    fingerprint: str = "same"
    resource_id: UUID = field(default_factory=new_id)
    status_code: int | None = None
    body: str | None = None
    lease_until: datetime = NOW + SECOND
    created_at: datetime = NOW - SECOND


def judged(row: Row, fingerprint: str = "same", location: str | None = "/orders/1") -> Any:
    try:
        return judge(row, fingerprint, at=NOW, ttl=TTL, location=location)
    except OrderkitError as error:
        return error


ANSWERED: dict[str, Any] = {"status_code": 201, "body": '{"id":1}'}
OLD: dict[str, Any] = {"created_at": NOW - TTL}
LEFT: dict[str, Any] = {"lease_until": NOW}


@pytest.mark.parametrize("fields", [{}, LEFT])
def test_an_answered_key_is_replayed_while_leased_or_not(fields: dict[str, Any]) -> None:
    row = Row(**ANSWERED, **fields)
    assert judged(row) == Replay(row.resource_id, Answer(201, '{"id":1}'), replayed=True)


def test_a_key_in_use_says_when_to_come_back() -> None:
    error = judged(Row())
    assert isinstance(error, KeyInUse)
    assert error.headers == {"Retry-After": "1"}


def test_a_key_whose_lease_has_ended_without_an_answer_is_abandoned() -> None:
    row = Row(**LEFT)
    assert judged(row) == Abandoned(row.resource_id)


@pytest.mark.parametrize("fields", [{}, ANSWERED, LEFT, ANSWERED | LEFT])
def test_another_request_is_refused_even_while_the_first_runs(fields: dict[str, Any]) -> None:
    assert isinstance(judged(Row(**fields), "other"), KeyReused)


@pytest.mark.parametrize("fields", [{}, ANSWERED, LEFT, ANSWERED | LEFT])
@pytest.mark.parametrize("fingerprint", ["same", "other"])
def test_an_expired_key_only_tells_where_its_order_is(fields: dict[str, Any], fingerprint: str) -> None:
    error = judged(Row(**fields, **OLD), fingerprint)
    assert isinstance(error, KeyExpired)
    assert error.headers == {"Location": "/orders/1"}


def test_an_expired_key_of_which_nobody_knows_what_it_made_names_no_place() -> None:
    error = judged(Row(**OLD), location=None)
    assert isinstance(error, KeyExpired)
    assert error.headers == {}
    assert "Location" not in error.detail


def test_a_key_is_good_to_the_last_microsecond() -> None:
    row = Row(**ANSWERED, created_at=NOW - TTL + timedelta(microseconds=1))
    assert isinstance(judged(row), Replay)
