"""What may be done and which role may do it: seeded, read, and changed by one after the other."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import pytest
from sqlalchemy import Connection, text
from sqlmodel import Session, col, select

from orderkit.api.dependencies import requires
from orderkit.auth import audit_log, permissions, roles
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller
from orderkit.auth.models import ADMIN, CUSTOMER, Role, RolePermission
from orderkit.auth.permissions import PERMISSIONS, SCOPES
from orderkit.db import Database
from orderkit.errors import Conflict, Forbidden, Invalid, NotFound
from tests.engines import on_postgresql
from tests.factories import GRANTS, make_user
from tests.threads import at_once

ACTOR = Actor(None, "a test")


def of(database: Database, role: str) -> frozenset[str]:
    with database.reading() as session:
        return permissions.of_role(session.connection(), role)


def give(database: Database, role: str, wanted: Sequence[str]) -> roles.Described:
    with database.transaction() as session:
        return roles.set_permissions(session.connection(), ACTOR, role, wanted, by=None)


def test_a_fresh_installation_has_seven_roles_with_just_these_permissions(rolled_back: Session) -> None:
    stored = {(one.role, one.permission) for one in rolled_back.exec(select(RolePermission))}
    assert stored == {(role, one) for role, those in GRANTS.items() for one in those}
    assert {one for _role, one in stored} == PERMISSIONS.keys()
    assert {one.name for one in rolled_back.exec(select(Role))} == {CUSTOMER, *GRANTS}
    assert all(one.description.endswith(".") for one in rolled_back.exec(select(Role)))


def test_permissions_are_named_after_what_and_how_and_described_in_a_sentence() -> None:
    for name, told in SCOPES.items():
        assert re.fullmatch(r"[a-z]+:[a-z]+", name)
        assert re.fullmatch(r"[A-Z].*\.", told)
    assert list(PERMISSIONS) == sorted(PERMISSIONS)


def test_the_id_of_a_permission_is_the_same_everywhere() -> None:
    """RFC 9562, section 5.5. Other programs may have stored it, so it never changes."""
    assert permissions.permission_id("orders:read") == UUID("02742c7c-a71d-5ba6-a6df-d66d28c1c3d4")


def test_a_route_cannot_ask_for_a_permission_that_there_is_not() -> None:
    with pytest.raises(KeyError):
        requires("orders:reed")


def test_permissions_of_a_later_version_are_left_alone_and_count_for_nothing(database: Database) -> None:
    with database.transaction() as session:
        session.add(RolePermission(role="support", permission="moon:visit"))
    assert of(database, "support") == set(GRANTS["support"])
    with database.reading() as session:
        listed = {one.name: one.permissions for one in roles.listing(session.connection())}
    assert listed == {CUSTOMER: (), **GRANTS}

    assert give(database, "support", ["audit:read"]).permissions == ("audit:read",)
    with database.reading() as session:
        kept = session.scalars(select(RolePermission.permission).where(col(RolePermission.role) == "support")).all()
    assert sorted(kept) == ["audit:read", "moon:visit"]


@pytest.fixture
def _reading_before_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two at once, both have read what the role may do before one of them goes on, if nothing prevents it."""
    both = threading.Barrier(2, timeout=0.3)

    def read_and_wait(connection: Connection, role: str) -> frozenset[str]:
        found = permissions.of_role(connection, role)
        with suppress(threading.BrokenBarrierError):
            both.wait()
        return found

    monkeypatch.setattr(roles, "of_role", read_and_wait)


@pytest.mark.usefixtures("_reading_before_writing")
def test_of_changes_at_once_none_is_lost(database: Database) -> None:
    """Each waits for the one before it, and adds to what that left."""

    def grant(one: str) -> None:
        with database.transaction() as session:
            roles.grant(session.connection(), ACTOR, CUSTOMER, [one])

    def revoke(one: str) -> None:
        with database.transaction() as session:
            roles.revoke(session.connection(), ACTOR, "creator", [one])

    names = sorted(PERMISSIONS)[:4]
    give(database, "creator", sorted(PERMISSIONS))
    at_once(*(lambda one=one: grant(one) for one in names), *(lambda one=one: revoke(one) for one in names))

    assert of(database, CUSTOMER) == set(names)
    assert of(database, "creator") == PERMISSIONS.keys() - set(names)


@pytest.mark.usefixtures("_reading_before_writing")
def test_setting_a_role_at_once_mixes_nothing(database: Database) -> None:
    wanted = (["orders:read", "audit:read"], ["catalog:write"])
    at_once(*(lambda those=those: give(database, "support", those) for those in wanted))
    assert of(database, "support") in [frozenset(those) for those in wanted]


@pytest.mark.usefixtures("_reading_before_writing")
def test_granting_the_same_at_once_is_done_and_told_once(database: Database) -> None:
    def grant() -> None:
        with database.transaction() as session:
            roles.grant(session.connection(), ACTOR, CUSTOMER, ["orders:read"])

    at_once(*[grant] * 6)

    with database.reading() as session:
        [entry] = audit_log.page(session.connection(), limit=10, subject="role:customer")
    assert entry.detail == {"added": ["orders:read"], "removed": []}


@on_postgresql
def test_somebody_can_register_while_the_role_is_being_changed(database: Database) -> None:
    """SQLite has one writer at a time in any case."""
    with database.transaction() as session:
        roles.grant(session.connection(), ACTOR, CUSTOMER, ["orders:read"])
        session.execute(text("SELECT 1"))
        assert make_user(database).role == CUSTOMER


@pytest.mark.parametrize(
    ("role", "wanted", "held", "error"),
    [
        ("king", ["orders:read"], None, NotFound),
        ("support", ["orders:eat"], None, Invalid),
        (ADMIN, ["orders:read"], None, Conflict),
        ("support", ["audit:read"], ["audit:read"], Forbidden),  # takes the others
        ("support", ["audit:read", *GRANTS["support"]], [], Forbidden),
    ],
)
def test_a_change_that_is_refused_changes_nothing(
    database: Database, role: str, wanted: list[str], held: Sequence[str] | None, error: type[Exception]
) -> None:
    by = None if held is None else Caller(make_user(database, role=ADMIN), frozenset({"roles:manage", *held}))
    before = of(database, role)
    with pytest.raises(error), database.transaction() as session:
        roles.set_permissions(session.connection(), ACTOR, role, wanted, by=by)
    assert of(database, role) == before
    with database.reading() as session:
        assert audit_log.page(session.connection(), limit=10) == []


def test_the_command_line_gives_what_it_likes(database: Database) -> None:
    give(database, "moderator", [])
    assert of(database, "moderator") == frozenset()
    give(database, "moderator", sorted(PERMISSIONS))
    assert of(database, "moderator") == PERMISSIONS.keys()
