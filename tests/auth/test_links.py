"""Links in mails: one thing, once, for a while, and only for whom it was sent to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from threading import Barrier
from typing import Any

import jwt
import pytest
from sqlmodel import select

from orderkit import clock
from orderkit.auth import api_keys, callers, links, passwords, sessions
from orderkit.auth.audit_log import Actor
from orderkit.auth.links import GOOD_FOR, Purpose
from orderkit.auth.models import AuditEntry, LoginSession, User
from orderkit.auth.tokens import Tokens
from orderkit.db import Database
from orderkit.errors import Invalid, Unauthenticated
from orderkit.ids import new_id
from orderkit.settings import Settings
from tests.factories import make_user

FROM = Actor(None, "192.0.2.7")
NEW = "a brave new horse"
BOTH = pytest.mark.parametrize("purpose", list(Purpose), ids=[one.value for one in Purpose])


class Desk:
    """Makes links for one user and uses them."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.user_id = make_user(database, email="ada@example.com", password="correct horse").id

    def user(self) -> User:
        with self.database.reading() as session:
            return session.get_one(User, self.user_id)

    def change(self, **values: Any) -> None:
        with self.database.transaction() as session:
            user = session.get_one(User, self.user_id)
            for name, value in values.items():
                setattr(user, name, value)

    def link(self, purpose: Purpose) -> str:
        return links.make(self.settings, purpose, self.user())

    def use(self, purpose: Purpose, token: str) -> None:
        if purpose is Purpose.VERIFY_EMAIL:
            assert links.verify_email(self.database, self.settings, token, FROM) == self.user_id
        else:
            hashed = links.new_hash(self.database, self.settings, token, NEW)
            assert links.reset_password(self.database, self.settings, token, hashed, FROM) == self.user().email

    def refuses(self, purpose: Purpose, token: str) -> bool:
        """Whether the token is good for nothing, whichever way it is tried, and nothing changed."""
        before = self.user()
        looking = partial(links.check, self.database, self.settings, purpose, token)
        for attempt in (looking, partial(self.use, purpose, token)):
            with pytest.raises(Invalid) as refused:
                attempt()
            assert [pointer for pointer, _ in refused.value.pointers] == ["#/token"]
            assert token not in str(refused.value) or not token
        return self.user() == before

    def log(self) -> list[AuditEntry]:
        with self.database.reading() as session:
            return list(session.exec(select(AuditEntry).order_by(AuditEntry.id)))  # type: ignore[arg-type]


@pytest.fixture
def desk(database: Database, settings: Settings) -> Desk:
    return Desk(database, settings)


@pytest.fixture
def no_hashing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """From when the user of `desk` has their password."""

    def hashed(_password: str) -> str:
        pytest.fail("hashed a password for nothing")

    with monkeypatch.context() as patched:
        patched.setattr(passwords, "hash_password", hashed)
        yield


def test_a_link_verifies_the_address(desk: Desk) -> None:
    """OWASP ASVS 5.0, V6.4: an address counts once whoever has its mailbox said so."""
    assert desk.user().verified_at is None
    desk.use(Purpose.VERIFY_EMAIL, desk.link(Purpose.VERIFY_EMAIL))
    assert desk.user().verified_at is not None
    [entry] = desk.log()
    assert (entry.action, entry.subject, entry.actor_id) == ("user.verified", f"user:{desk.user_id}", desk.user_id)
    assert entry.source == "192.0.2.7"


def test_a_link_sets_a_new_password_and_ends_every_session(desk: Desk) -> None:
    """OWASP ASVS 5.0, V7.4.3: after a password is changed, other sessions can be ended; here they are."""
    for _ in range(2):
        sessions.start(desk.database, desk.user(), days=30)
    version = desk.user().token_version
    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))

    user = desk.user()
    assert passwords.matches(NEW, user.password_hash)
    assert not passwords.matches("correct horse", user.password_hash)
    assert user.token_version == version + 1
    with desk.database.reading() as session:
        assert session.exec(select(LoginSession)).all() == []


def test_whoever_resets_a_password_shuts_out_who_was_in_before(desk: Desk) -> None:
    """A stranger may have registered with the address first, and made a key to come back with."""
    user, stranger = desk.user(), Actor(None, "192.0.2.66")
    bystander = make_user(desk.database)
    with desk.database.transaction() as session:
        made = partial(api_keys.make, session.connection(), stranger, name="k", wanted=["orders:own"], days=365)
        (_key, text), (_other, bystanders) = made(user.id), made(bystander.id)
    assert callers.of_api_key(desk.database, text) is not None
    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))
    assert callers.of_api_key(desk.database, text) is None
    assert callers.of_api_key(desk.database, bystanders) is not None
    assert "api_keys.revoked" in [entry.action for entry in desk.log()]


def test_whoever_resets_a_password_has_the_mailbox(desk: Desk) -> None:
    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))
    assert desk.user().verified_at is not None
    assert [entry.action for entry in desk.log()] == ["user.password_reset", "user.verified"]
    verified_at = desk.user().verified_at

    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))
    assert desk.user().verified_at == verified_at
    assert [entry.action for entry in desk.log()][2:] == ["user.password_reset"]


def test_the_audit_log_names_nobody(desk: Desk) -> None:
    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))
    told = "".join(repr(entry) for entry in desk.log())
    assert "ada@" not in told
    assert desk.user().name not in told


@BOTH
def test_a_link_works_once(desk: Desk, purpose: Purpose) -> None:
    """OWASP ASVS 5.0, V6.5.1: what is sent out of band is used once."""
    token, twin = desk.link(purpose), desk.link(purpose)
    desk.use(purpose, token)
    assert desk.refuses(purpose, token)
    assert desk.refuses(purpose, twin)


@BOTH
def test_of_two_who_use_a_link_at_once_one_succeeds(desk: Desk, purpose: Purpose) -> None:
    """OWASP ASVS 5.0, V15.4.2: asked and changed in one step, also for those who race."""
    token = desk.link(purpose)
    begin = Barrier(4)

    def attempt(_: int) -> bool:
        begin.wait()
        try:
            desk.use(purpose, token)
        except Invalid:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sorted(threads.map(attempt, range(4))) == [False, False, False, True]
    assert [entry.action for entry in desk.log()].count("user.verified") == 1
    assert desk.user().token_version == (1 if purpose is Purpose.RESET_PASSWORD else 0)


@BOTH
def test_a_link_is_good_for_a_while(desk: Desk, purpose: Purpose) -> None:
    """OWASP ASVS 5.0, V6.4.1 and V9.2.1: what lets somebody in, or back in, is over after a while."""
    assert GOOD_FOR[purpose] == (timedelta(days=3) if purpose is Purpose.VERIFY_EMAIL else timedelta(minutes=30))
    token = desk.link(purpose)
    with clock.moved(GOOD_FOR[purpose] + timedelta(seconds=1)):
        assert desk.refuses(purpose, token)
    with clock.moved(GOOD_FOR[purpose] - timedelta(seconds=10)):
        desk.use(purpose, token)


@BOTH
def test_a_link_is_for_one_purpose(desk: Desk, purpose: Purpose) -> None:
    [other] = set(Purpose) - {purpose}
    assert desk.refuses(purpose, desk.link(other))


@BOTH
@pytest.mark.parametrize("state", ["banned_at", "deleted_at"])
def test_nobody_who_is_banned_or_deleted_uses_a_link(desk: Desk, purpose: Purpose, state: str) -> None:
    """OWASP ASVS 5.0, V7.4.2: an account that was disabled is not opened from its mailbox."""
    token = desk.link(purpose)
    desk.change(**{state: clock.now()})
    assert desk.refuses(purpose, token)


@pytest.mark.parametrize(
    ("purpose", "changed"),
    [
        (Purpose.VERIFY_EMAIL, {"email": "someone.else@example.com"}),
        (Purpose.VERIFY_EMAIL, {"verified_at": clock.now()}),
        (Purpose.RESET_PASSWORD, {"password_hash": "another"}),
        (Purpose.RESET_PASSWORD, {"password_hash": None}),
        (Purpose.RESET_PASSWORD, {"token_version": 1}),
    ],
    ids=["address changed", "verified otherwise", "password changed", "password removed", "logged out everywhere"],
)
def test_what_changes_the_state_otherwise_uses_up_the_link(
    desk: Desk, purpose: Purpose, changed: dict[str, Any]
) -> None:
    token = desk.link(purpose)
    desk.change(**changed)
    assert desk.refuses(purpose, token)


def test_a_link_is_nobody_elses(desk: Desk, database: Database) -> None:
    other = make_user(database)
    token = desk.link(Purpose.VERIFY_EMAIL)
    claims = jwt.decode(token, options={"verify_signature": False})
    key = links._key(desk.settings)
    assert desk.refuses(Purpose.VERIFY_EMAIL, jwt.encode(claims | {"sub": str(other.id)}, key, algorithm="HS256"))
    assert desk.refuses(Purpose.VERIFY_EMAIL, jwt.encode(claims | {"sub": str(new_id())}, key, algorithm="HS256"))


@BOTH
@pytest.mark.usefixtures("no_hashing")
@pytest.mark.filterwarnings("ignore:.*key:jwt.warnings.InsecureKeyLengthWarning")
def test_what_was_not_made_here_is_refused(desk: Desk, purpose: Purpose) -> None:
    """OWASP ASVS 5.0, V9.1.1 and V9.1.2: signatures are checked, by one algorithm, before anything is done."""
    token = desk.link(purpose)
    claims = jwt.decode(token, options={"verify_signature": False})
    head, body, signature = token.split(".")
    key = links._key(desk.settings)
    forged: list[str] = [
        "",
        "nonsense",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-2]}AA",
        jwt.encode(claims, None, algorithm="none"),  # type: ignore[arg-type]  # what it takes for none
        jwt.encode(claims, key, algorithm="HS512"),
        jwt.encode(claims, desk.settings.signing_key, algorithm="HS256"),
        jwt.encode(claims | {"iss": "elsewhere"}, key, algorithm="HS256"),
        jwt.encode(claims | {"state": "é"}, key, algorithm="HS256"),
        *(
            jwt.encode({name: value for name, value in claims.items() if name != left_out}, key, algorithm="HS256")
            for left_out in claims
        ),
    ]
    for one in forged:
        assert desk.refuses(purpose, one)


def test_no_link_is_an_access_token_and_no_access_token_a_link(desk: Desk) -> None:
    """OWASP ASVS 5.0, V9.2.2: a token is taken only for what it was made for. Not even one key for both would do."""
    for secret in (links._key(desk.settings), desk.settings.signing_key.encode()):
        tokens = Tokens(desk.settings, list)
        tokens._keys = {"k": secret}
        for purpose in Purpose:
            claims = jwt.decode(desk.link(purpose), options={"verify_signature": False})
            for token in (desk.link(purpose), jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "k"})):
                with pytest.raises(Unauthenticated):
                    tokens.verify(token)
            assert desk.refuses(purpose, tokens.issue(desk.user_id, new_id()).token)


def test_a_link_tells_no_more_than_whose_it_is(desk: Desk) -> None:
    for purpose in Purpose:
        claims = jwt.decode(desk.link(purpose), options={"verify_signature": False})
        assert claims.keys() == {"iss", "aud", "sub", "exp", "state"}
        assert len(claims["state"]) == 22
        assert "ada@" not in repr(claims)  # three letters alone are in a random id now and then


@pytest.mark.usefixtures("no_hashing")
@pytest.mark.parametrize("password", ["short", "x" * 129, "password", "ada@example.com", "nul\0" * 3])
def test_a_password_that_cannot_be_taken_leaves_the_link_good(desk: Desk, password: str) -> None:
    """OWASP ASVS 5.0, V6.2.1 and V6.2.4, for a password that is reset as for any other."""
    token = desk.link(Purpose.RESET_PASSWORD)
    before = desk.user()
    with pytest.raises(Invalid) as refused:
        links.new_hash(desk.database, desk.settings, token, password)
    assert [pointer for pointer, _ in refused.value.pointers] == ["#/password"]
    assert desk.user() == before
    links.check(desk.database, desk.settings, Purpose.RESET_PASSWORD, token)


@BOTH
def test_looking_at_a_link_does_not_use_it(desk: Desk, purpose: Purpose) -> None:
    token = desk.link(purpose)
    before = desk.user()
    for _ in range(3):
        links.check(desk.database, desk.settings, purpose, token)
    assert desk.user() == before
    desk.use(purpose, token)


def test_no_transaction_is_open_while_a_password_is_hashed(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    open_ones: list[str] = []
    hashing, transaction = passwords.hash_password, desk.database.transaction
    under_way: list[int] = []

    def hashed(password: str) -> str:
        open_ones.extend("open" for _ in under_way)
        return hashing(password)

    def watched() -> Any:
        context = transaction()
        enter: Callable[..., Any] = context.__enter__

        class Watched:
            def __enter__(self) -> Any:
                under_way.append(1)
                return enter()

            def __exit__(self, *error: Any) -> Any:
                under_way.pop()
                return context.__exit__(*error)

        return Watched()

    monkeypatch.setattr(passwords, "hash_password", hashed)
    monkeypatch.setattr(desk.database, "transaction", watched)
    desk.use(Purpose.RESET_PASSWORD, desk.link(Purpose.RESET_PASSWORD))
    assert open_ones == []
    assert under_way == []
