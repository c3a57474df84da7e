"""Sessions: one good refresh token at a time, and an end that counts at once."""

from __future__ import annotations

import base64
import random
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.auth import callers, sessions
from orderkit.auth.models import LoginSession, User
from orderkit.auth.sessions import Granted, Holder
from orderkit.db import Database
from orderkit.errors import NotFound, Unauthenticated
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.client import running
from tests.factories import make_product, make_user


def log_in(database: Database, user: User) -> Granted:
    return sessions.start(database, user, days=30, user_agent="a browser", address="192.0.2.7")


def is_live(database: Database, one: Granted) -> bool:
    """Whether it is for callers, for claims of orders, and for whoever lists them; they must agree."""
    caller = callers.of_session(database, one.user_id, one.session_id) is not None
    with database.reading() as session:
        connection = session.connection()
        holder = Holder(one.user_id, one.session_id)
        assert (sessions.admitted(connection, {holder}, clock.now()) == {holder}) == caller
        listed = {login.id for login in sessions.page(connection, one.user_id, limit=100)}
    assert (one.session_id in listed) == caller
    return caller


@pytest.mark.parametrize(
    ("what", "good"),
    [
        ("nothing", True),
        ("refreshed", True),
        ("another of theirs ended", True),
        ("ended", False),
        ("expired", False),
        ("all of theirs ended", False),
        ("banned", False),
        ("deleted", False),
        ("another user's", False),
    ],
)
def test_whether_a_session_is_good_is_one_answer_however_it_is_asked(
    settings: Settings, database: Database, what: str, good: bool
) -> None:
    """It is spelt three times: for callers, in the SQL of a claim, and for whoever was not let in by that."""
    user = make_user(database)
    one, other = log_in(database, user), log_in(database, user)
    user_id = make_user(database).id if what == "another user's" else user.id
    if what == "refreshed":
        sessions.refresh(database, one.refresh_token)
    with database.transaction() as session:
        row, owner = session.get_one(LoginSession, one.session_id), session.get_one(User, user.id)
        if what in ("ended", "another of theirs ended"):
            sessions.end(session.connection(), user.id, (one if what == "ended" else other).session_id)
        if what == "all of theirs ended":
            owner.token_version += 1
        if what == "expired":
            row.expires_at = clock.now() - timedelta(seconds=1)
        if what in ("banned", "deleted"):
            setattr(owner, f"{what}_at", clock.now())
    order = {"items": [{"sku": make_product(database).sku, "quantity": 1}], "payment_method": "pm_card_visa"}
    holder = Holder(user_id, one.session_id)

    assert (callers.of_session(database, user_id, one.session_id) is not None) == good
    with running(settings) as api:
        token = api.runtime.tokens.issue(user_id, one.session_id).token
        placed = api.post("/orders", order, {"Authorization": f"Bearer {token}", "Idempotency-Key": "1"})
    assert placed.status == (201 if good else 401)
    with database.reading() as session:
        assert (holder in sessions.admitted(session.connection(), {holder}, clock.now())) == good


def test_a_refresh_gives_a_new_token_and_the_session_goes_on(database: Database) -> None:
    first = log_in(database, make_user(database))
    second = sessions.refresh(database, first.refresh_token)
    third = sessions.refresh(database, second.refresh_token)
    assert (second.session_id, second.user_id) == (first.session_id, first.user_id)
    assert len({first.refresh_token, second.refresh_token, third.refresh_token}) == 3
    assert is_live(database, third)


def test_a_refresh_token_has_256_random_bits_of_its_own_and_only_hashes_are_stored(database: Database) -> None:
    """OWASP ASVS 5.0 V7.2.3 and V11.4; RFC 6749, section 10.10, asks for at least 128 bits."""
    tokens = [log_in(database, make_user(database)).refresh_token for _ in range(20)]
    raw = [base64.urlsafe_b64decode(token.removeprefix(sessions.PREFIX) + "==") for token in tokens]
    assert {len(one) for one in raw} == {64}
    assert len({one[32:] for one in raw}) == len({one[16:32] for one in raw}) == 20
    with database.reading() as session:
        stored = repr([row._mapping for row in session.connection().execute(select(LoginSession))])
    for token, bytes_ in zip(tokens, raw, strict=True):
        assert token not in stored
        assert bytes_[16:32].hex() not in stored
        assert bytes_[32:].hex() not in stored


def test_a_refresh_token_used_twice_ends_its_session_at_once(database: Database) -> None:
    """RFC 9700, section 4.14.2."""
    user = make_user(database)
    first, other = log_in(database, user), log_in(database, user)
    second = sessions.refresh(database, first.refresh_token)
    assert is_live(database, second)
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, first.refresh_token)
    assert not is_live(database, second)
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, second.refresh_token)
    assert is_live(database, other), "only the family that the token is of"


def test_any_old_token_of_the_family_ends_it(database: Database) -> None:
    granted = [log_in(database, make_user(database))]
    for _ in range(4):
        granted.append(sessions.refresh(database, granted[-1].refresh_token))
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, granted[1].refresh_token)
    assert not is_live(database, granted[-1])


def test_of_twenty_refreshes_at_once_one_succeeds_and_the_family_is_over(database: Database) -> None:
    """RFC 9700, section 4.14.2: no grace; a client that lost the answer logs in again."""
    for _ in range(3):
        token = log_in(database, make_user(database)).refresh_token

        def attempt(_: int, token: str = token) -> Granted | None:
            try:
                return sessions.refresh(database, token)
            except Unauthenticated:
                return None

        with ThreadPoolExecutor(20) as threads:
            given = [one for one in threads.map(attempt, range(20)) if one]
        assert len(given) == 1
        assert not is_live(database, given[0])


@pytest.mark.parametrize(
    "token", ["", "okr_", "okr_!!", "okk_abc", "x" * 90, "okr_" + "A" * 86, "okr_é", "okr_" + "A" * 85]
)
def test_what_is_no_refresh_token_is_refused_and_ends_nothing(database: Database, token: str) -> None:
    one = log_in(database, make_user(database))
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, token)
    sessions.revoke(database, token)
    assert is_live(database, one)


def test_who_knows_a_session_id_and_not_its_secrets_cannot_end_it(database: Database, rng: random.Random) -> None:
    one = log_in(database, make_user(database))
    forged = sessions._token(one.session_id, rng.randbytes(16), rng.randbytes(32))
    with pytest.raises(Unauthenticated):
        sessions.refresh(database, forged)
    sessions.revoke(database, forged)
    assert is_live(database, one)
    sessions.refresh(database, one.refresh_token)


def test_a_session_ends_thirty_days_after_the_login_however_often_refreshed(database: Database) -> None:
    """OWASP ASVS 5.0 V7.3.2."""
    one = log_in(database, make_user(database))
    for day in range(1, 30, 7):
        with clock.moved(timedelta(days=day)):
            one = sessions.refresh(database, one.refresh_token)
    with clock.moved(timedelta(days=30) - timedelta(seconds=5)):
        assert is_live(database, one)
    with clock.moved(timedelta(days=30, seconds=1)):
        assert not is_live(database, one)
        with pytest.raises(Unauthenticated):
            sessions.refresh(database, one.refresh_token)


@pytest.mark.parametrize("fact", ["banned_at", "deleted_at", "token_version"])
def test_a_ban_a_deletion_or_a_raised_version_ends_every_session(database: Database, fact: str) -> None:
    """OWASP ASVS 5.0 V7.4.2."""
    user, bystander = make_user(database), make_user(database)
    mine, others = [log_in(database, user) for _ in range(3)], log_in(database, bystander)
    with database.transaction() as session:
        setattr(session.get_one(User, user.id), fact, 1 if fact == "token_version" else clock.now())
    assert not any(is_live(database, one) for one in mine)
    for one in mine:
        with pytest.raises(Unauthenticated):
            sessions.refresh(database, one.refresh_token)
    assert is_live(database, others)


def test_a_login_that_was_under_way_when_all_ended_is_dead(database: Database) -> None:
    user = make_user(database)
    with database.transaction() as session:
        sessions.end_all(session.connection(), user.id)
    assert not is_live(database, log_in(database, user)), "it was decided on the account as it was before"
    with database.reading() as session:
        again = session.get_one(User, user.id)
    assert is_live(database, log_in(database, again))


def test_all_sessions_end_but_the_one_that_is_kept(database: Database) -> None:
    user = make_user(database)
    kept, *ended = (log_in(database, user) for _ in range(3))
    with database.transaction() as session:
        sessions.end_all(session.connection(), user.id, but=kept.session_id)
    assert is_live(database, kept)
    assert not any(is_live(database, one) for one in ended)
    assert is_live(database, sessions.refresh(database, kept.refresh_token))


def test_one_session_ends_and_the_others_go_on(database: Database) -> None:
    user, stranger = make_user(database), make_user(database)
    one, other = log_in(database, user), log_in(database, user)
    with database.transaction() as session, pytest.raises(NotFound):
        sessions.end(session.connection(), stranger.id, one.session_id)
    assert is_live(database, one)
    with database.transaction() as session:
        sessions.end(session.connection(), user.id, one.session_id)
    assert not is_live(database, one)
    assert is_live(database, other)
    with database.transaction() as session, pytest.raises(NotFound):
        sessions.end(session.connection(), user.id, one.session_id)


def test_a_revoked_refresh_token_new_or_old_ends_the_session(database: Database) -> None:
    """RFC 7009, section 2.1."""
    for use_old in (False, True):
        first = log_in(database, make_user(database))
        second = sessions.refresh(database, first.refresh_token)
        sessions.revoke(database, (first if use_old else second).refresh_token)
        assert not is_live(database, second)


def test_logins_are_listed_newest_first_and_paged_with_nothing_missed(database: Database) -> None:
    user = make_user(database)
    ids = [log_in(database, user).session_id for _ in range(7)]
    log_in(database, make_user(database))
    with database.transaction() as session:  # several of the very same time
        for one in session.scalars(select(LoginSession).where(col(LoginSession.user_id) == user.id)):
            one.created_at = clock.now() - timedelta(seconds=ids.index(one.id) // 3)
    found: list[Any] = []
    with database.reading() as session:
        while page := sessions.page(
            session.connection(),
            user.id,
            limit=2,
            after=sessions.Position(found[-1].created_at, found[-1].id) if found else None,
        ):
            found += page
    assert len(found) == 7
    assert {one.id for one in found} == set(ids)
    assert found == sorted(found, key=lambda one: (one.created_at, one.id), reverse=True)
    assert {(one.user_agent, one.address) for one in found} == {("a browser", "192.0.2.7")}


def test_expired_sessions_are_forgotten_and_good_ones_are_not(database: Database) -> None:
    user = make_user(database)
    with clock.moved(timedelta(days=-31)):
        log_in(database, user)
    good = log_in(database, user)
    with database.transaction() as session:
        assert sessions.forget(session.connection(), before=clock.now()) == 1
    assert is_live(database, good)


def test_a_session_of_nobody_is_none(database: Database) -> None:
    user = make_user(database)
    one = log_in(database, user)
    assert callers.of_session(database, user.id, new_id()) is None
    assert callers.of_session(database, new_id(), one.session_id) is None
    assert callers.of_session(database, make_user(database).id, one.session_id) is None
