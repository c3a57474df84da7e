"""Roles over HTTP: seen and changed by whoever may, one change after the other, and nobody gives what they do not have."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection

from orderkit.auth import moderation, permissions, roles
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller
from orderkit.auth.models import ADMIN, CUSTOMER, User
from orderkit.auth.permissions import PERMISSIONS
from orderkit.db import Database
from orderkit.errors import Forbidden
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import GRANTS, make_user
from tests.threads import at_once, callers_known

Headers = dict[str, str]
ROLES = sorted([*GRANTS, "customer"])


def put(api: Client, role: str, permissions: object, headers: Headers | None) -> Answer:
    return api.run(api.call("PUT", f"/roles/{role}/permissions", {"permissions": permissions}, headers=headers))


def permissions_of(api: Client, role: str, headers: Headers) -> list[str]:
    [found] = [one["permissions"] for one in api.get("/roles", headers).json()["items"] if one["name"] == role]
    assert isinstance(found, list)
    return found


def entries(api: Client, headers: Headers, role: str) -> list[dict[str, object]]:
    found = api.get(f"/admin/audit-log?subject=role:{role}", headers).json()["items"]
    assert isinstance(found, list)
    return found


def test_permissions_have_an_id_a_name_and_a_description(api: Client, staff: Headers) -> None:
    listed = api.get("/permissions", staff).json()
    assert listed["next_cursor"] is None
    assert {one["name"]: one["description"] for one in listed["items"]} == PERMISSIONS
    assert len({UUID(one["id"]) for one in listed["items"]}) == len(PERMISSIONS)
    assert all(one.keys() == {"id", "name", "description"} for one in listed["items"])
    assert api.get("/permissions", staff).json() == listed


def test_roles_come_with_what_they_may_do(api: Client, staff: Headers) -> None:
    listed = api.get("/roles", staff).json()
    assert listed["next_cursor"] is None
    assert {one["name"]: tuple(one["permissions"]) for one in listed["items"]} == {"customer": (), **GRANTS}
    assert all(one.keys() == {"name", "description", "permissions"} for one in listed["items"])


@pytest.mark.parametrize(("path", "names"), [("/roles", ROLES), ("/permissions", sorted(PERMISSIONS))])
def test_both_lists_are_paged_as_all_lists_are(api: Client, staff: Headers, path: str, names: list[str]) -> None:
    seen: list[str] = []
    cursor = ""
    while True:
        page = api.get(f"{path}?limit=3{cursor}", staff).json()
        seen += [one["name"] for one in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == names
    assert api.get(f"{path}?limit=101", staff).status == 422
    other = {"/roles": "/permissions", "/permissions": "/roles"}[path]
    assert api.get(f"{other}?limit=3{cursor}", staff).code == "cursor_invalid"


def test_a_change_is_answered_shown_and_in_the_audit_log(api: Client, admin: User, staff: Headers) -> None:
    wanted = ["orders:read", "users:manage", "orders:read"]

    answer = put(api, "support", wanted, staff)

    assert answer.status == 200
    assert (answer.json()["name"], answer.json()["permissions"]) == ("support", ["orders:read", "users:manage"])
    assert permissions_of(api, "support", staff) == ["orders:read", "users:manage"]
    [entry] = entries(api, staff, "support")
    assert (entry["actor_id"], entry["source"]) == (str(admin.id), "127.0.0.1")
    assert (entry["action"], entry["request_id"]) == ("role.permissions_changed", answer.headers["x-request-id"])
    assert entry["detail"] == {"added": ["users:manage"], "removed": ["orders:refund", "orders:write", "system:read"]}


def test_a_change_that_changes_nothing_is_no_entry(api: Client, staff: Headers) -> None:
    for _ in range(2):
        assert put(api, "creator", ["catalog:write"], staff).status == 200
    assert entries(api, staff, "creator") == []


def test_a_role_may_have_nothing(api: Client, staff: Headers) -> None:
    assert put(api, "creator", [], staff).json()["permissions"] == []
    assert put(api, "creator", ["catalog:write"], staff).json()["permissions"] == ["catalog:write"]


def test_an_unknown_permission_is_pointed_at_and_nothing_is_changed(api: Client, staff: Headers) -> None:
    refused = put(api, "support", ["orders:read", "orders:eat", "orders:own"], staff)
    assert (refused.code, refused.pointers) == ("validation_failed", ["#/permissions/1", "#/permissions/2"])
    assert permissions_of(api, "support", staff) == list(GRANTS["support"])
    assert entries(api, staff, "support") == []


@decided_by_the_request
@pytest.mark.parametrize(
    "body", [{}, {"permissions": None}, {"permissions": "orders:read"}, {"permissions": [], "name": "king"}]
)
def test_a_body_that_does_not_fit_is_refused(api: Client, staff: Headers, body: object) -> None:
    refused = api.run(api.call("PUT", "/roles/support/permissions", body, headers=staff))
    assert (refused.status, refused.code) == (422, "validation_failed")


def test_an_unknown_role_is_not_found(api: Client, staff: Headers) -> None:
    assert put(api, "king", ["orders:read"], staff).code == "not_found"


def test_admin_keeps_every_permission(api: Client, staff: Headers) -> None:
    """Nobody gives what they do not have: over the API nobody could give it back."""
    all_but_one = [sorted({*PERMISSIONS} - {one}) for one in sorted(PERMISSIONS)]
    for wanted in ([], ["roles:manage"], ["users:manage"], *all_but_one):
        refused = put(api, ADMIN, wanted, staff)
        assert (refused.status, refused.code) == (409, "conflict"), wanted
        assert "keeps every permission" in refused.json()["detail"], wanted
        assert permissions_of(api, ADMIN, staff) == sorted(PERMISSIONS), wanted
        assert entries(api, staff, ADMIN) == [], wanted


def test_admin_may_be_given_all_that_it_has(api: Client, staff: Headers) -> None:
    assert put(api, ADMIN, sorted(PERMISSIONS), staff).status == 200
    assert entries(api, staff, ADMIN) == []


@pytest.mark.parametrize(
    ("wanted", "status"),
    [
        ([*GRANTS["support"], "users:manage"], 200),  # gives what they have
        ([*GRANTS["support"], "audit:read"], 403),  # gives what they lack
        (["orders:refund", "orders:write"], 403),  # takes what they lack
        ([*GRANTS["support"]], 200),  # touches nothing
    ],
)
def test_nobody_gives_or_takes_what_they_do_not_have(
    api: Client, database: Database, staff: Headers, wanted: list[str], status: int
) -> None:
    """OWASP API Security Top 10 2023, API5: no way up by giving oneself, or one's like, more."""
    put(api, "moderator", ["roles:manage", "users:manage"], staff)
    moderator = api.token(make_user(database, role="moderator"))

    answer = put(api, "support", wanted, moderator)

    assert answer.status == status
    assert permissions_of(api, "support", staff) == (wanted if status == 200 else list(GRANTS["support"]))
    assert put(api, "moderator", sorted(PERMISSIONS), moderator).code == "forbidden"


def test_of_two_changes_at_once_one_is_after_the_other_and_both_are_told(
    api: Client, database: Database, staff: Headers
) -> None:
    wanted = [["orders:read", "audit:read"], ["catalog:write", "users:manage"], [], ["orders:write", "roles:manage"]]

    answers = at_once(*(lambda those=those: put(api, "support", those, staff) for those in wanted))

    assert [answer.status for answer in answers] == [200] * len(wanted)
    assert permissions_of(api, "support", staff) in [sorted(those) for those in wanted]
    have = set(GRANTS["support"])
    for entry in reversed(entries(api, staff, "support")):
        detail = entry["detail"]
        assert isinstance(detail, dict)
        assert set(detail["removed"]) <= have
        assert not have & set(detail["added"])
        have = have - set(detail["removed"]) | set(detail["added"])
    assert sorted(have) == permissions_of(api, "support", staff)


COMMAND_LINE = Actor(None, "a test")


def _revoke(connection: Connection, _user: User) -> None:
    roles.revoke(connection, COMMAND_LINE, "moderator", ["users:manage"])


def _revoke_the_right_to(connection: Connection, _user: User) -> None:
    roles.revoke(connection, COMMAND_LINE, "moderator", ["roles:manage"])


def _demote(connection: Connection, user: User) -> None:
    moderation.change(connection, COMMAND_LINE, user.id, by=None, role=CUSTOMER)


def _ban(connection: Connection, user: User) -> None:
    moderation.change(connection, COMMAND_LINE, user.id, by=None, banned=True)


def _delete(connection: Connection, user: User) -> None:
    moderation.delete(connection, COMMAND_LINE, user.id, by=None)


@pytest.mark.parametrize(
    ("take", "status", "left"),
    [
        (_revoke, 403, {"roles:manage"}),
        (_revoke_the_right_to, 403, {"users:manage"}),
        (_demote, 403, {"roles:manage", "users:manage"}),
        (_ban, 401, {"roles:manage", "users:manage"}),
        (_delete, 401, {"roles:manage", "users:manage"}),
    ],
)
def test_whoever_loses_power_while_their_request_waits_does_not_get_it_back(
    api: Client,
    database: Database,
    staff: Headers,
    monkeypatch: pytest.MonkeyPatch,
    take: Callable[[Connection, User], None],
    status: int,
    left: set[str],
) -> None:
    """OWASP API Security Top 10 2023, API5; ASVS 5.0, V8.3.2: what counts is what they may do when it is their turn."""
    put(api, "moderator", ["roles:manage", "users:manage"], staff)
    user = make_user(database, role="moderator")
    who, known = api.token(user), callers_known(monkeypatch)
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            take(session.connection(), user)
            waiting = threads.submit(put, api, "moderator", ["roles:manage", "users:manage"], who)
            assert known.wait(10)
            _let_it_come_to_the_lock(waiting)
        refused = waiting.result(20)

    assert refused.status == status
    with database.reading() as session:
        assert permissions.of_role(session.connection(), "moderator") == left


def test_a_role_is_given_as_it_is_once_those_who_change_it_are_done(database: Database) -> None:
    """Else somebody gave what they do not have: the role gets more after it was looked at, and before it is given."""
    moderator, user = make_user(database, role="moderator"), make_user(database)
    caller = Caller(moderator, frozenset({"users:manage"}))

    def give() -> None:
        with database.transaction() as session:
            moderation.change(session.connection(), Actor(moderator.id, "here"), user.id, by=caller, role="creator")

    with database.transaction() as session:
        roles.revoke(session.connection(), COMMAND_LINE, "creator", GRANTS["creator"])
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            roles.grant(session.connection(), COMMAND_LINE, "creator", GRANTS["creator"])
            giving = threads.submit(give)
            _let_it_come_to_the_lock(giving)
        with pytest.raises(Forbidden):
            giving.result(20)
    with database.reading() as session:
        assert session.get_one(User, user.id).role == CUSTOMER


def _let_it_come_to_the_lock(act: Future[Any]) -> None:
    """Long enough for what does not wait to be over."""
    wait([act], timeout=0.3)


def test_a_change_that_fails_after_all_leaves_no_entry(
    api: Client, staff: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orderkit.auth import audit_log

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no room")

    with monkeypatch.context() as broken:
        broken.setattr(audit_log, "record", fail)
        assert put(api, "support", ["audit:read"], staff).status == 500
    assert permissions_of(api, "support", staff) == list(GRANTS["support"])
