"""The audit log over HTTP: read in pages, of one subject if wanted, and closed to every other method."""

from __future__ import annotations

import json

import pytest

from orderkit.auth import audit_log
from orderkit.auth.audit_log import Actor
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.ids import new_id
from tests.client import Client
from tests.engines import decided_by_the_request
from tests.factories import PASSWORD, make_user

Headers = dict[str, str]
PATH = "/admin/audit-log"


def record(database: Database, subject: str, **detail: object) -> None:
    with database.transaction() as session:
        audit_log.record(session.connection(), Actor(new_id(), "192.0.2.7"), "user.banned", subject, **detail)


def numbers(api: Client, query: str, headers: Headers) -> list[int]:
    return [one["detail"]["number"] for one in api.get(f"{PATH}{query}", headers).json()["items"]]


def test_it_is_read_in_pages_newest_first(api: Client, database: Database, staff: Headers) -> None:
    for number in range(5):
        record(database, f"user:{new_id()}", number=number)
    first = api.get(f"{PATH}?limit=3", staff).json()
    second = api.get(f"{PATH}?limit=3&cursor={first['next_cursor']}", staff).json()
    assert [one["detail"]["number"] for one in first["items"] + second["items"]] == [4, 3, 2, 1, 0]
    assert second["next_cursor"] is None
    assert first["items"][0].keys() == {"id", "at", "actor_id", "source", "action", "subject", "detail", "request_id"}


def test_one_subject_can_be_asked_for_and_its_cursor_is_its_own(
    api: Client, database: Database, staff: Headers
) -> None:
    for number in range(4):
        record(database, f"user:{number % 2}", number=number)
    page = api.get(f"{PATH}?subject=user:1&limit=1", staff).json()
    assert [one["detail"]["number"] for one in page["items"]] == [3]
    assert numbers(api, f"?subject=user:1&cursor={page['next_cursor']}", staff) == [1]
    for query in ("", "subject=user:0&"):
        assert api.get(f"{PATH}?{query}cursor={page['next_cursor']}", staff).code == "cursor_invalid"
    assert numbers(api, "?subject=user:2", staff) == []
    assert numbers(api, "?subject=user:2'OR'1'='1", staff) == []


@decided_by_the_request
@pytest.mark.parametrize("subject", ["", "%00", "user:%20", "user:%0a", "x" * 201, "%c3%a9"])
def test_a_subject_that_is_none_is_refused(api: Client, staff: Headers, subject: str) -> None:
    refused = api.get(f"{PATH}?subject={subject}", staff)
    assert (refused.status, refused.pointers) == (422, ["#/query/subject"])


def test_no_entry_can_be_changed_or_deleted(api: Client, database: Database, staff: Headers) -> None:
    """OWASP ASVS 5.0 V16.4.2."""
    record(database, "user:1", number=1)
    [entry] = api.get(PATH, staff).json()["items"]
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert api.run(api.call(method, PATH, {}, headers=staff)).status == 405
        assert api.run(api.call(method, f"{PATH}/{entry['id']}", {}, headers=staff)).status == 404
    assert api.get(PATH, staff).json()["items"] == [entry]


def test_it_names_people_by_id_only(api: Client, database: Database, admin: User, staff: Headers) -> None:
    somebody = make_user(database, role="support", name="Ada Lovelace", email="ada@example.com", password=PASSWORD)
    theirs = api.token(somebody)
    api.post(
        "/users/me/api-keys",
        {"name": "Ada's laptop", "permissions": ["orders:own"], "current_password": PASSWORD},
        theirs,
    )
    api.run(api.call("DELETE", "/users/me/sessions", headers=theirs))
    api.run(api.call("PUT", "/roles/support/permissions", {"permissions": []}, headers=staff))
    listed = api.get(PATH, staff).json()["items"]
    assert len(listed) == 3
    assert {one["actor_id"] for one in listed} == {str(admin.id), str(somebody.id)}
    for word in ("@", "Ada", "Lovelace", admin.email):
        assert word not in json.dumps(listed)
