"""Confirming an address and resetting a password, from the request to the mail to the page, over HTTP."""

from __future__ import annotations

import asyncio
import html
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlmodel import col, select

from orderkit import clock
from orderkit.api import link_pages
from orderkit.auth import moderation, passwords
from orderkit.auth.audit_log import Actor
from orderkit.auth.links import MAX_TOKEN, Purpose
from orderkit.auth.mails import Mails
from orderkit.auth.models import AccountMail, AuditEntry, User
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.mail import open_mailer
from orderkit.settings import Settings
from tests.client import Answer, Client, running
from tests.factories import make_user
from tests.threads import callers_known

ADA = {"email": "ada@example.com", "password": "correct horse", "name": "Ada Lovelace"}
NEW = "a brave new horse"


class Post:
    """What the worker would send, and the folder it ends in."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.outbox: Path = settings.home / "outbox"
        self._mails = Mails(database, settings, open_mailer(settings), Breaker("mail"))

    def rows(self) -> list[AccountMail]:
        with self.database.reading() as session:
            return list(session.exec(select(AccountMail).order_by(col(AccountMail.id))))

    def deliver(self) -> None:
        for row in self.rows():
            asyncio.run(self._mails.send(row.id))

    def links(self) -> list[str]:
        """The links of all mails, the oldest first."""
        self.deliver()
        found = []
        for file in sorted(self.outbox.glob("*.eml")):
            content = message_from_bytes(file.read_bytes(), policy=policy.default).get_content()
            found += re.findall(r"https?://\S+", content)
        return found

    def tokens(self) -> list[str]:
        return [parse_qs(urlsplit(link).query)["token"][0] for link in self.links()]

    def close(self) -> None:
        self._mails.close()


@pytest.fixture
def post(database: Database, settings: Settings) -> Iterator[Post]:
    post = Post(database, settings)
    yield post
    post.close()


@pytest.fixture
def ada(database: Database) -> User:
    return make_user(database, email=ADA["email"], password=ADA["password"])


def user(database: Database) -> User:
    with database.reading() as session:
        return session.exec(select(User).where(User.email == ADA["email"])).one()


def log_in(api: Client, password: str) -> Answer:
    return api.form("/token", {"username": ADA["email"], "password": password})


def path_of(link: str) -> str:
    return link.removeprefix("http://127.0.0.1:8000")


# ── For programs ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_whoever_registers_is_sent_a_link_that_confirms_their_address(
    api: Client, post: Post, database: Database
) -> None:
    """OWASP ASVS 5.0, V6.4: from registering to a mail, and from its link to an address that is known to be theirs."""
    assert api.post("/register", ADA).status == 201
    assert user(database).verified_at is None
    [token] = post.tokens()
    answer = api.post("/email/verify", {"token": token})
    assert (answer.status, answer.body) == (204, b"")
    assert user(database).verified_at is not None

    again = api.post("/email/verify", {"token": token})
    assert (again.status, again.code, again.pointers) == (422, "validation_failed", ["#/token"])


def test_a_taken_address_gets_no_mail_by_registering_it_again(api: Client, post: Post, ada: User) -> None:
    """OWASP ASVS 5.0, V6.3.8."""
    assert api.post("/register", ADA | {"password": NEW}).status == 201
    assert post.rows() == []


def test_whoever_is_logged_in_can_have_the_link_sent_again(
    api: Client, post: Post, ada: User, database: Database
) -> None:
    who = api.token(ada)
    for _ in range(5):
        answer = api.post("/users/me/verification", headers=who)
        assert (answer.status, answer.body) == (202, b"")
    assert [row.kind for row in post.rows()] == [Purpose.VERIFY_EMAIL] * 3
    first, second, _ = post.tokens()
    assert api.post("/email/verify", {"token": second}).status == 204
    assert api.post("/email/verify", {"token": first}).status == 422
    assert api.post("/users/me/verification").code == "unauthenticated"


def test_a_forgotten_password_is_reset_and_the_old_one_and_every_session_end(
    api: Client, post: Post, ada: User, database: Database
) -> None:
    """OWASP ASVS 5.0, V6.4.3 and V7.4.3."""
    login = log_in(api, ADA["password"]).json()
    sessions = [{"Authorization": f"Bearer {login['access_token']}"}, api.token(ada)]
    assert api.post("/password/forgot", {"email": "ADA@example.com"}).status == 202
    [token] = post.tokens()
    answer = api.post("/password/reset", {"token": token, "password": NEW})
    assert (answer.status, answer.body) == (204, b"")

    for who in sessions:
        assert api.get("/users/me", who).code == "unauthenticated"
    assert api.post("/token/refresh", {"refresh_token": login["refresh_token"]}).status == 401
    assert log_in(api, ADA["password"]).status == 401
    fresh = log_in(api, NEW)
    assert fresh.status == 200
    assert api.get("/users/me", {"Authorization": f"Bearer {fresh.json()['access_token']}"}).status == 200
    assert user(database).verified_at is not None
    with database.reading() as session:
        entries = session.exec(select(AuditEntry).order_by(col(AuditEntry.id))).all()
    assert [(entry.action, entry.source) for entry in entries] == [
        ("user.password_reset", "127.0.0.1"),
        ("user.verified", "127.0.0.1"),
    ]


def guess_until_refused(api: Client) -> None:
    while log_in(api, "not the password").status == 401:
        pass
    assert log_in(api, ADA["password"]).status == 429


def test_whoever_resets_the_password_does_not_wait_for_what_others_guessed(api: Client, post: Post, ada: User) -> None:
    """OWASP ASVS 5.0, V6.1.1: a limit may not become a way to lock somebody out."""
    guess_until_refused(api)
    api.post("/password/forgot", {"email": ada.email})
    [token] = post.tokens()
    assert api.post("/password/reset", {"token": token, "password": "short"}).status == 422
    assert log_in(api, ADA["password"]).status == 429
    assert api.post("/password/reset", {"token": token, "password": NEW}).status == 204
    assert log_in(api, NEW).status == 200

    guess_until_refused(api)
    api.post("/password/forgot", {"email": ada.email})
    [_, token] = post.tokens()
    assert api.form("/links/reset-password", {"token": token, "password": NEW}).status == 200
    assert log_in(api, NEW).status == 200


def test_whoever_is_deleted_while_they_ask_for_a_mail_leaves_no_address_behind(
    api: Client, post: Post, ada: User, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    who, known = api.token(ada), callers_known(monkeypatch)
    with ThreadPoolExecutor(1) as threads:
        with database.transaction() as session:
            moderation.leave(session.connection(), Actor(ada.id, "here"), ada.id)
            asking = threads.submit(api.post, "/users/me/verification", headers=who)
            assert known.wait(10)
            wait([asking], timeout=0.3)  # long enough for what does not wait to be over
        assert asking.result(20).code == "unauthenticated"
    assert post.rows() == []


def test_of_two_resets_at_once_one_succeeds(api: Client, post: Post, ada: User) -> None:
    """OWASP ASVS 5.0, V6.5.1."""
    api.post("/password/forgot", {"email": ada.email})
    [token] = post.tokens()
    with ThreadPoolExecutor(2) as threads:
        both = list(
            threads.map(lambda n: api.post("/password/reset", {"token": token, "password": f"{NEW} {n}"}), range(2))
        )
    assert sorted(answer.status for answer in both) == [204, 422]
    [won] = [n for n, answer in enumerate(both) if answer.status == 204]
    assert log_in(api, f"{NEW} {won}").status == 200


def test_nobody_learns_who_has_an_account_by_forgetting_a_password(api: Client, post: Post, ada: User) -> None:
    """OWASP ASVS 5.0, V6.3.8: a forgotten password is answered alike for whom we know and whom we do not."""
    same = {"X-Request-ID": "same"}
    known, unknown = (
        api.post("/password/forgot", {"email": email}, same) for email in (ada.email, "nobody@example.com")
    )
    assert (known.status, known.body) == (unknown.status, unknown.body) == (202, b"")
    assert known.headers.keys() == unknown.headers.keys()
    assert len(post.rows()) == 2
    assert len(post.tokens()) == 1


@pytest.mark.parametrize("state", ["banned_at", "deleted_at"])
def test_nobody_who_is_banned_or_deleted_comes_back_by_mail(
    api: Client, post: Post, ada: User, database: Database, state: str
) -> None:
    """OWASP ASVS 5.0, V7.4.2."""
    api.post("/password/forgot", {"email": ada.email})
    [token] = post.tokens()
    with database.transaction() as session:
        setattr(session.get_one(User, ada.id), state, clock.now())
    answer = api.post("/password/reset", {"token": token, "password": NEW})
    assert (answer.status, answer.pointers) == (422, ["#/token"])
    assert api.post("/password/forgot", {"email": ada.email}).status == 202
    assert len(post.tokens()) == 1


def test_bad_bodies_are_told_where_they_are_bad(api: Client, post: Post) -> None:
    for path, body, where in [
        ("/password/forgot", {"email": "nonsense"}, "#/email"),
        ("/password/forgot", {"email": "a@example.com", "token": "x"}, "#/token"),
        ("/email/verify", {"token": ""}, "#/token"),
        ("/email/verify", {"token": "x" * (MAX_TOKEN + 1)}, "#/token"),
        ("/password/reset", {"token": "x", "password": NEW}, "#/token"),
        ("/password/reset", {"token": "x", "password": "short"}, "#/password"),
        ("/password/reset", {"token": "x", "password": NEW, "user_id": "y"}, "#/user_id"),
    ]:
        answer = api.post(path, body)
        assert (answer.status, answer.code, answer.pointers) == (422, "validation_failed", [where])
    assert post.rows() == []


def test_one_client_has_only_so_many_mails_sent(settings: Settings, post: Post, ada: User) -> None:
    """OWASP ASVS 5.0, V2.4.1: mails cost money and good name, so nobody has them sent by the thousand."""
    with running(settings.model_copy(update={"mails_per_address": 5})) as api:
        who = api.token(ada)
        for number in range(2):
            assert api.post("/password/forgot", {"email": f"{number}@example.com"}).status == 202
        for email in ("new@example.com", ada.email):
            assert api.post("/register", ADA | {"email": email}).status == 201
        assert api.post("/users/me/verification", headers=who).status == 202
        for refused in (
            api.post("/password/forgot", {"email": "more@example.com"}),
            api.post("/users/me/verification", headers=who),
            api.post("/register", ADA | {"email": "more@example.com"}),
            api.post("/register", ADA),
        ):
            assert (refused.status, refused.code) == (429, "rate_limited")
            assert int(refused.headers["retry-after"]) > 0
    assert [row.email for row in post.rows()].count("more@example.com") == 0
    assert len(post.rows()) == 4


# ── For people ───────────────────────────────────────────────────────────────────────────────────────────────────────


def hidden_token(page: Answer) -> str:
    [token] = re.findall(r'name="token" value="([^"]*)"', page.body.decode())
    return html.unescape(token)


def is_a_page(answer: Answer) -> bool:
    """Whether it is one that keeps its token to itself and loads nothing but its stylesheet (OWASP ASVS 5.0, V3.4)."""
    policy_parts = set(answer.headers["content-security-policy"].split("; "))
    text = answer.body.decode()
    return (
        answer.headers["content-type"] == "text/html; charset=utf-8"
        and policy_parts >= {"default-src 'none'", "style-src 'self'", "form-action 'self'", "frame-ancestors 'none'"}
        and answer.headers["referrer-policy"] == "no-referrer"
        and answer.headers["cache-control"] == "no-store"
        and answer.headers["x-content-type-options"] == "nosniff"
        and text.startswith("<!doctype html>")
        and not re.search(r"<script|<style|\sstyle=|\son\w+=|https?://", text)
    )


def test_the_link_in_the_mail_leads_to_a_button_that_confirms(api: Client, post: Post, database: Database) -> None:
    api.post("/register", ADA)
    [link] = post.links()
    page = api.get(path_of(link))
    assert (page.status, is_a_page(page)) == (200, True)
    assert b"<button>" in page.body

    done = api.form("/links/verify-email", {"token": hidden_token(page)})
    assert (done.status, is_a_page(done)) == (200, True)
    assert b"confirmed" in done.body
    assert user(database).verified_at is not None
    for again in (api.form("/links/verify-email", {"token": hidden_token(page)}), api.get(path_of(link))):
        assert (again.status, is_a_page(again)) == (422, True)
        assert b"does not work" in again.body


def test_the_link_in_the_mail_leads_to_a_form_that_sets_a_password(api: Client, post: Post, ada: User) -> None:
    who = api.token(ada)
    api.post("/password/forgot", {"email": ada.email})
    [link] = post.links()
    page = api.get(path_of(link))
    assert (page.status, is_a_page(page)) == (200, True)
    assert b'type="password"' in page.body

    done = api.form("/links/reset-password", {"token": hidden_token(page), "password": "pässwörd 🍵 & more"})
    assert (done.status, is_a_page(done)) == (200, True)
    assert log_in(api, "pässwörd 🍵 & more").status == 200
    assert log_in(api, ADA["password"]).status == 401
    assert api.get("/users/me", who).status == 401
    again = api.form("/links/reset-password", {"token": hidden_token(page), "password": NEW})
    assert (again.status, is_a_page(again)) == (422, True)


def test_whoever_opens_a_link_has_not_used_it(api: Client, post: Post, ada: User, database: Database) -> None:
    """RFC 9110, section 9.2.1: a GET is safe. Programs that look for malice in mails open what is linked there."""
    api.post("/password/forgot", {"email": ada.email})
    api.post("/users/me/verification", headers=api.token(ada))
    before = user(database)
    links = post.links()
    for link in [*links, *links]:
        assert api.get(path_of(link)).status == 200
    assert user(database) == before


@pytest.mark.parametrize("password", ["", "short", "password", "x" * 129])
def test_a_password_that_cannot_be_taken_can_be_chosen_again(api: Client, post: Post, ada: User, password: str) -> None:
    api.post("/password/forgot", {"email": ada.email})
    [token] = post.tokens()
    page = api.form("/links/reset-password", {"token": token, "password": password})
    assert (page.status, is_a_page(page)) == (422, True)
    assert b'role="alert"' in page.body
    assert password in ("", "password") or password.encode() not in page.body
    assert api.form("/links/reset-password", {"token": hidden_token(page), "password": NEW}).status == 200


@pytest.mark.parametrize("path", ["/links/verify-email", "/links/reset-password"])
def test_what_does_not_work_is_a_page_too(api: Client, path: str) -> None:
    answers = {
        "missing": api.get(path),
        "nonsense": api.get(f"{path}?token=nonsense"),
        "too long": api.get(f"{path}?token={'x' * (MAX_TOKEN + 1)}"),
        "empty form": api.form(path, {}),
        "markup": api.form(path, {"token": '"><script>alert(1)</script>', "password": NEW}),
        "two-fold": api.form(path, {"token": "x" * (MAX_TOKEN + 1), "password": NEW}),
        "json": api.post(path, {"token": "x", "password": NEW}),
    }
    for name, answer in answers.items():
        assert is_a_page(answer), name
        assert answer.status == (415 if name == "json" else 422), name
        assert b"<form" not in answer.body


def test_whatever_is_shown_is_escaped() -> None:
    """OWASP ASVS 5.0, V1.2.1. The only value of a caller on any page is the token, and only a good one; still."""
    evil = '"><script>alert(1)</script>'
    for page in (
        link_pages.verify(evil),
        link_pages.reset(evil),
        link_pages.reset("x", evil),
        link_pages.message(evil, evil),
        link_pages.failure(evil, 422, evil, {}),
    ):
        assert b"<script" not in page.body
        assert b"&lt;script&gt;" in page.body


def test_the_pages_have_a_stylesheet_that_loads_nothing(api: Client) -> None:
    style = api.get("/links/style.css")
    assert (style.status, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert b"url(" not in style.body
    assert b"@import" not in style.body


def test_a_link_that_is_over_says_so_when_it_is_opened(api: Client, post: Post, ada: User) -> None:
    api.post("/password/forgot", {"email": ada.email})
    [link] = post.links()
    with clock.moved(timedelta(minutes=31)):
        page = api.get(path_of(link))
    assert (page.status, is_a_page(page)) == (422, True)


def test_the_pages_are_not_part_of_the_documented_api(api: Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    assert {"/email/verify", "/password/forgot", "/password/reset", "/users/me/verification"} <= paths.keys()
    assert not any(path.startswith("/links") for path in paths)


def test_too_much_hashing_at_once_is_told_on_a_page(
    api: Client, post: Post, ada: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "MAX_WAITING", 0)
    answer = api.form("/links/reset-password", {"token": "x", "password": NEW})
    assert (answer.status, is_a_page(answer)) == (503, True)
    assert answer.headers["retry-after"] == "1"
