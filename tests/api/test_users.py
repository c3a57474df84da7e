"""Other people's accounts over HTTP: who finds, changes, bans and deletes whom, and what happens when two do it at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import directory, moderation, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller
from orderkit.auth.models import ADMIN, CUSTOMER, AuditEntry, RolePermission, User
from orderkit.auth.permissions import PERMISSIONS
from orderkit.db import Database
from orderkit.errors import Forbidden, Unauthenticated
from orderkit.ids import new_id
from tests.client import Answer, Client
from tests.engines import decided_by_the_request
from tests.factories import GRANTS, PASSWORD, logs_in, make_product, make_user
from tests.threads import at_once

Headers = dict[str, str]
ABSENT = "0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e"


def change(api: Client, who: Headers, user_id: object, **what: Any) -> Answer:
    return api.patch(f"/users/{user_id}", what, who)


def delete(api: Client, who: Headers, user_id: object) -> Answer:
    return api.run(api.call("DELETE", f"/users/{user_id}", headers=who))


def stored(database: Database, user_id: UUID) -> User:
    with database.reading() as session:
        return session.get_one(User, user_id)


def entries(database: Database, user_id: object) -> list[tuple[str, dict[str, Any], UUID | None]]:
    mine = select(AuditEntry).where(AuditEntry.subject == f"user:{user_id}")
    with database.reading() as session:
        return [(one.action, one.detail, one.actor_id) for one in session.scalars(mine.order_by(col(AuditEntry.at)))]


def active_admins(database: Database) -> int:
    there = col(User.role) == ADMIN, col(User.banned_at).is_(None), col(User.deleted_at).is_(None)
    with database.reading() as session:
        return len(session.scalars(select(User).where(*there)).all())


def order(api: Client, who: Headers, sku: str, key: str) -> Answer:
    body = {"items": [{"sku": sku, "quantity": 1}], "payment_method": "pm_card_visa"}
    return api.post("/orders", body, who | {"Idempotency-Key": key})


# ── roles ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_role_that_is_given_counts_at_once_and_is_in_the_audit_log(
    api: Client, database: Database, admin: User, staff: Headers
) -> None:
    """OWASP ASVS 5.0, V8.3.2: a change of what somebody may do counts at once."""
    user = make_user(database, name="Ada")
    who = api.token(user)
    assert api.get("/users", who).code == "forbidden"
    answer = change(api, staff, user.id, role="moderator")
    assert answer.status == 200
    assert answer.json() == {
        "id": str(user.id),
        "email": user.email,
        "name": "Ada",
        "role": "moderator",
        "avatar_url": None,
        "bio": None,
        "verified": False,
        "banned": False,
        "created_at": answer.json()["created_at"],
    }
    assert api.get("/users", who).status == 200
    assert change(api, staff, user.id, role="moderator").status == 200, "no change, and no entry"
    assert entries(database, user.id) == [("user.role_changed", {"from": CUSTOMER, "to": "moderator"}, admin.id)]


def test_a_demoted_admins_live_token_loses_its_power_at_once(api: Client, database: Database, staff: Headers) -> None:
    """OWASP ASVS 5.0, V8.3.2."""
    other = make_user(database, role=ADMIN)
    who = api.token(other)
    assert api.get("/dead-letters", who).status == 200
    assert change(api, staff, other.id, role=CUSTOMER).status == 200
    assert api.get("/dead-letters", who).code == "forbidden"
    assert api.get("/users/me", who).json()["role"] == CUSTOMER


@pytest.mark.parametrize("role", sorted(GRANTS))
def test_nobody_gives_a_role_that_may_do_more_than_they(api: Client, database: Database, role: str) -> None:
    """OWASP API Top 10 2023, API5: who may manage users is not thereby an admin."""
    moderator, user = api.token(make_user(database, role="moderator")), make_user(database)
    answer = change(api, moderator, user.id, role=role)
    assert answer.status == (200 if role == "moderator" else 403)
    assert stored(database, user.id).role == ("moderator" if role == "moderator" else CUSTOMER)


@pytest.mark.parametrize("what", [{"role": CUSTOMER}, {"banned": True}, {"role": CUSTOMER, "banned": True}, None])
def test_nobody_takes_from_whom_may_do_more_than_they(
    api: Client, database: Database, what: dict[str, Any] | None
) -> None:
    """OWASP API Top 10 2023, API5."""
    moderator, analyst = api.token(make_user(database, role="moderator")), make_user(database, role="analyst")
    answer = delete(api, moderator, analyst.id) if what is None else change(api, moderator, analyst.id, **what)
    assert (answer.status, answer.code) == (403, "forbidden")
    assert stored(database, analyst.id).model_dump() == analyst.model_dump()
    assert entries(database, analyst.id) == []


def test_a_key_gives_only_roles_within_what_it_was_given(api: Client, database: Database, staff: Headers) -> None:
    made = api.post(
        "/users/me/api-keys", {"name": "k", "permissions": ["users:manage"], "current_password": PASSWORD}, staff
    )
    key = {"Authorization": f"Bearer {made.json()['key']}"}
    user = make_user(database)
    assert change(api, key, user.id, role="support").status == 403
    assert change(api, key, user.id, role="moderator").status == 200


@decided_by_the_request
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"role": "king"}, "#/role"),
        ({"role": ""}, "#/role"),
        ({"role": None}, "#/role"),
        ({"banned": None}, "#/banned"),
        ({"banned": "true"}, "#/banned"),
        ({"email": "new@example.com"}, "#/email"),
        ({"token_version": 0}, "#/token_version"),
        ({"verified": True}, "#/verified"),
    ],
)
def test_nothing_but_role_and_ban_can_be_changed(
    api: Client, database: Database, staff: Headers, body: dict[str, Any], pointer: str
) -> None:
    """OWASP API Top 10 2023, API3."""
    user = make_user(database)
    refused = change(api, staff, user.id, **body)
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", [pointer])
    assert stored(database, user.id).model_dump() == user.model_dump()


@pytest.mark.parametrize("what", [{"role": CUSTOMER}, {"role": ADMIN}, {"banned": True}, {"banned": False}, None])
def test_nobody_changes_themselves(
    api: Client, database: Database, admin: User, staff: Headers, what: dict[str, Any] | None
) -> None:
    make_user(database, role=ADMIN)
    answer = delete(api, staff, admin.id) if what is None else change(api, staff, admin.id, **what)
    assert (answer.status, answer.code) == (409, "conflict")
    assert stored(database, admin.id).model_dump() == admin.model_dump()


def test_who_is_absent_or_deleted_is_not_found(api: Client, database: Database, staff: Headers) -> None:
    """OWASP API Top 10 2023, API1."""
    gone = make_user(database)
    assert delete(api, staff, gone.id).status == 204
    for user_id in (ABSENT, gone.id):
        answers = [
            change(api, staff, user_id, banned=True),
            delete(api, staff, user_id),
            api.get(f"/users/{user_id}"),
        ]
        assert [(one.status, one.code) for one in answers] == [(404, "not_found")] * 3
        assert {one.json()["detail"].replace(str(user_id), "…") for one in answers} == {"there is no user …"}


# ── the last admin ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", [{"role": CUSTOMER}, {"banned": True}, None])
def test_the_last_active_admin_stays_one(
    api: Client, database: Database, admin: User, what: dict[str, Any] | None
) -> None:
    """By somebody who may do all that an admin may, without being one. Who cannot log in is no admin here."""
    make_user(database, role=ADMIN)
    make_user(database, role=ADMIN, banned_at=clock.now())
    make_user(database, role=ADMIN, deleted_at=clock.now())
    with database.transaction() as session:
        for one in GRANTS[ADMIN]:
            session.merge(RolePermission(role="support", permission=one))
    almost = api.token(make_user(database, role="support"))
    answer = delete(api, almost, admin.id) if what is None else change(api, almost, admin.id, **what)
    assert (answer.status, answer.code) == (409, "conflict")
    assert stored(database, admin.id).role == ADMIN
    make_user(database, role=ADMIN, password=PASSWORD)
    assert (delete(api, almost, admin.id) if what is None else change(api, almost, admin.id, **what)).status < 300


@pytest.mark.parametrize("act", ["demote", "ban", "delete"])
def test_of_admins_who_take_each_others_power_at_once_one_is_left(api: Client, database: Database, act: str) -> None:
    admins = [make_user(database, role=ADMIN, password=PASSWORD) for _ in range(2)]
    who = [api.token(one) for one in admins]

    def against(number: int) -> Answer:
        other = admins[1 - number].id
        if act == "delete":
            return delete(api, who[number], other)
        return change(api, who[number], other, **({"role": CUSTOMER} if act == "demote" else {"banned": True}))

    answers = at_once(partial(against, 0), partial(against, 1))
    # Whoever comes second is refused in the act, or as soon as it is asked who they are.
    assert sorted(answer.status for answer in answers)[0] in (200, 204)
    assert sorted(answer.status for answer in answers)[1] in (401, 403, 409)
    assert active_admins(database) == 1


@pytest.mark.parametrize(
    ("since", "error"), [({"role": CUSTOMER}, Forbidden), ({"banned_at": clock.now()}, Unauthenticated)]
)
def test_what_counts_is_what_somebody_may_do_when_it_is_their_turn(
    database: Database, since: dict[str, Any], error: type[Exception]
) -> None:
    """The request came in while they were an admin, and waited for another who made them none."""
    first, second = (make_user(database, role=ADMIN, password=PASSWORD) for _ in range(2))
    caller = Caller(first, frozenset(PERMISSIONS), session_id=new_id())
    with database.transaction() as session:
        session.get_one(User, first.id).sqlmodel_update(since)
    with pytest.raises(error), database.transaction() as session:
        moderation.change(session.connection(), Actor(first.id, "here"), second.id, by=caller, role=CUSTOMER)
    assert stored(database, second.id).role == ADMIN


# ── bans ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_ban_ends_every_session_at_once_and_can_be_taken_back(
    api: Client, database: Database, admin: User, staff: Headers
) -> None:
    """OWASP ASVS 5.0, V7.4: the next call is refused, with the access token and with the refresh token."""
    user = make_user(database, email="ada@example.com", password="correct horse")
    form = {"username": "ada@example.com", "password": "correct horse"}
    tokens = api.form("/token", form).json()
    who, sku = {"Authorization": f"Bearer {tokens['access_token']}"}, make_product(database).sku
    assert order(api, who, sku, "1").status == 201
    answer = change(api, staff, user.id, banned=True)
    assert (answer.status, answer.json()["banned"]) == (200, True)
    refused = [
        api.get("/users/me", who),
        order(api, who, sku, "2"),
        api.post("/token/refresh", {"refresh_token": tokens["refresh_token"]}),
        api.form("/token", form),
    ]
    assert [(one.status, one.code) for one in refused] == [(401, "unauthenticated")] * 4
    assert change(api, staff, user.id, banned=True).status == 200
    assert change(api, staff, user.id, banned=False).json()["banned"] is False
    assert api.get("/users/me", who).status == 401, "what ended stays so"
    assert api.form("/token", form).status == 200
    assert [(action, actor) for action, _detail, actor in entries(database, user.id)] == [
        ("user.banned", admin.id),
        ("user.unbanned", admin.id),
    ]


def test_a_login_that_was_under_way_when_the_ban_came_is_dead(api: Client, database: Database, staff: Headers) -> None:
    """OWASP ASVS 5.0, V7.4: the password was checked before, the session is stored after."""
    user = make_user(database, email="ada@example.com", password="correct horse")
    checked = logs_in(database, "ada@example.com", "correct horse")
    assert checked is not None
    assert change(api, staff, user.id, banned=True).status == 200
    granted = sessions.start(database, checked, days=30)
    who = {"Authorization": f"Bearer {api.runtime.tokens.issue(user.id, granted.session_id).token}"}
    for banned in (True, False):
        change(api, staff, user.id, banned=banned)
        assert api.get("/users/me", who).status == 401
        assert api.post("/token/refresh", {"refresh_token": granted.refresh_token}).status == 401


def test_orders_that_race_with_a_ban_are_placed_before_it_or_refused(
    api: Client, database: Database, staff: Headers
) -> None:
    user, sku = make_user(database), make_product(database).sku
    who = api.token(user)
    acts = [partial(order, api, who, sku, str(number)) for number in range(8)]
    answers = at_once(*acts[:4], partial(change, api, staff, user.id, banned=True), *acts[4:])
    placed = [one for one in answers if one.status == 201]
    assert {one.status for one in answers} <= {200, 201, 401}
    listed = api.get("/orders?limit=100", staff).json()["items"]
    assert {one["id"] for one in listed} == {one.json()["id"] for one in placed}
    assert {one["status"] for one in listed} <= {"paid", "shipped"}
    assert order(api, who, sku, "after").status == 401


# ── deletion ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_staff_delete_an_account_once(api: Client, database: Database, admin: User, staff: Headers) -> None:
    user = make_user(database)
    who = api.token(user)
    other = api.token(make_user(database, role=ADMIN))
    answers = at_once(partial(delete, api, staff, user.id), partial(delete, api, other, user.id))
    assert sorted(one.status for one in answers) == [204, 404]
    assert api.get("/users/me", who).status == 401
    [(action, detail, actor)] = entries(database, user.id)
    assert (action, detail) == ("user.deleted", {})
    assert actor in {admin.id, *[one.id for one in _admins(database)]}


def _admins(database: Database) -> Sequence[User]:
    with database.reading() as session:
        return session.scalars(select(User).where(User.role == ADMIN)).all()


# ── the search ───────────────────────────────────────────────────────────────────────────────────────────────────────


def search(api: Client, who: Headers, q: str | None = None, limit: int = 100) -> list[str]:
    """Names of all that are found, page by page."""
    names: list[str] = []
    path = f"/users?limit={limit}" + ("" if q is None else f"&q={quote(q)}")
    cursor = ""
    while True:
        answer = api.get(path + cursor, who)
        assert answer.status == 200, answer
        names += [one["name"] for one in answer.json()["items"]]
        if answer.json()["next_cursor"] is None:
            return names
        assert len(answer.json()["items"]) <= limit
        cursor = f"&cursor={answer.json()['next_cursor']}"


@pytest.fixture
def people(api: Client, database: Database, admin: User) -> dict[str, User]:
    """Named so that what sorts by language and what sorts by byte differ."""
    made = [
        ("ada@example.com", "Ada Lovelace"),
        ("ada.b@example.com", "Bob"),
        ("ada_c@example.com", "adam"),
        ("adab@example.com", "ADAM"),
        ("zoe@example.com", "Ada Zoe"),
        ("percent@example.com", "100% Ada"),
        ("umlaut@example.com", "Ädä"),
        ("bob@example.com", "bob"),
    ]
    found = {name: make_user(database, email=email, name=name) for email, name in made}
    gone = make_user(database, email="adagone@example.com", name="Ada Gone")
    api.run(api.call("DELETE", f"/users/{gone.id}", headers=api.token(admin)))
    return found


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("ada", ["Bob", "Ada Lovelace", "adam", "ADAM", "Ada Zoe"]),
        ("ADA", ["Bob", "Ada Lovelace", "adam", "ADAM", "Ada Zoe"]),
        ("ada l", ["Ada Lovelace"]),
        ("ada@example.com", ["Ada Lovelace"]),
        ("bob", ["bob", "Bob"]),
        ("äd", ["Ädä"]),
        ("ÄD", ["Ädä"]),
        ("a\u0308d", ["Ädä"]),
        ("ada_", ["adam"]),
        ("ad_", []),
        ("%", []),
        ("100%", ["100% Ada"]),
        ("\\", []),
        ("'; DROP TABLE users; --", []),
        ("lovelace", []),
        ("deleted", []),
        ("z", ["Ada Zoe"]),
    ],
)
@pytest.mark.usefixtures("people")
def test_users_are_found_by_the_beginning_of_address_or_name_each_once(
    api: Client, staff: Headers, q: str, names: list[str]
) -> None:
    """OWASP ASVS 5.0, V1.2.4: what is asked for is data, never SQL nor a pattern."""
    for limit in (1, 2, 3, 100):
        assert search(api, staff, q, limit) == names


def test_without_a_question_all_are_listed_by_address(
    api: Client, people: dict[str, User], admin: User, staff: Headers
) -> None:
    by_address = sorted([*people.values(), admin], key=lambda one: one.email)
    assert search(api, staff, None, 2) == [one.name for one in by_address]


def test_a_whole_id_finds_its_user_and_a_deleted_one_not(
    api: Client, database: Database, people: dict[str, User], staff: Headers
) -> None:
    assert search(api, staff, str(people["bob"].id)) == ["bob"]
    assert search(api, staff, people["bob"].id.hex.upper()) == ["bob"]
    assert search(api, staff, str(people["bob"].id)[:-1]) == []
    with database.reading() as session:
        gone = session.scalars(select(User).where(col(User.deleted_at).is_not(None))).one()
    assert search(api, staff, str(gone.id)) == []


@pytest.mark.parametrize("q", ["", "%20", "a%00", "a%0A", "a" * 255])
def test_what_cannot_be_searched_for_is_refused(api: Client, staff: Headers, q: str) -> None:
    refused = api.get(f"/users?q={q}", staff)
    assert (refused.status, refused.code, refused.pointers) == (422, "validation_failed", ["#/query/q"])


@pytest.mark.usefixtures("people")
def test_a_cursor_is_good_for_its_own_question_only(api: Client, staff: Headers) -> None:
    """OWASP API Top 10 2023, API4."""
    cursor = api.get("/users?q=ada&limit=1", staff).json()["next_cursor"]
    assert api.get(f"/users?q=ada&limit=1&cursor={cursor}", staff).status == 200
    for path in (f"/users?q=bob&cursor={cursor}", f"/users?cursor={cursor}", f"/users?q=ada&cursor=x{cursor}"):
        assert api.get(path, staff).code == "cursor_invalid"


def test_a_page_looks_at_a_bounded_number_of_rows(
    api: Client, database: Database, staff: Headers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve whose address fits as their name does, and one whose name fits alone: no page reads past them all."""
    monkeypatch.setattr(directory, "SCANNED", 4)
    for number in range(12):
        make_user(database, email=f"eve{number:02}@example.com", name=f"Eve {number:02}")
    make_user(database, email="last@example.com", name="Eve Z")
    expected = [f"Eve {number:02}" for number in range(12)] + ["Eve Z"]
    for limit in (1, 3, 5):
        assert search(api, staff, "eve", limit) == expected


def test_long_names_and_names_in_any_script_are_paged(api: Client, database: Database, staff: Headers) -> None:
    names = [f"\U0001f375{letter}" + '"' * 198 for letter in "ab"] + ["\U0001f375" * 200]
    for name in names:
        make_user(database, name=name)
    assert sorted(search(api, staff, "\U0001f375", 1)) == sorted(names)


def test_a_search_shows_the_account_and_no_secret(api: Client, database: Database, staff: Headers) -> None:
    """OWASP API Top 10 2023, API3."""
    make_user(database, email="ada@example.com", name="Ada", password="correct horse", verified_at=clock.now())
    answer = api.get("/users?q=ada", staff)
    [found] = answer.json()["items"]
    assert found.keys() == {
        "id", "email", "name", "role", "avatar_url", "bio", "verified", "banned", "created_at"
    }  # fmt: skip
    assert (found["email"], found["verified"], found["banned"]) == ("ada@example.com", True, False)
    assert b"argon2" not in answer.body


def test_who_is_renamed_is_found_by_the_new_name_only(api: Client, database: Database, staff: Headers) -> None:
    user = make_user(database, name="Ada")
    api.patch("/users/me", {"name": "Grace"}, api.token(user))
    assert search(api, staff, "grace") == ["Grace"]
    assert search(api, staff, "ada") == []


def test_ids_are_no_way_around_the_rules(api: Client, database: Database) -> None:
    """OWASP API Top 10 2023, API5: a customer is refused before it is looked for whom they name."""
    who = api.token(make_user(database))
    for user_id in (make_user(database).id, new_id()):
        assert change(api, who, user_id, role=ADMIN).code == "forbidden"
        assert delete(api, who, user_id).code == "forbidden"
    assert api.get("/users?q=a", who).code == "forbidden"
