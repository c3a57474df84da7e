"""Accounts: making them, and finding out who someone is. Nothing here tells whether an address is known."""

from __future__ import annotations

from contextlib import suppress

from email_validator import EmailNotValidError, validate_email
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from orderkit import names
from orderkit.auth import audit_log, mails, passwords, permissions
from orderkit.auth.audit_log import Actor
from orderkit.auth.links import Purpose
from orderkit.auth.models import CUSTOMER, User
from orderkit.db import Database
from orderkit.errors import Conflict, Invalid

_users = User.__table__  # type: ignore[attr-defined]


def normal_email(text: str) -> str:
    """The one spelling of an address: lower case, ASCII (a domain in IDNA). Raises Invalid for what is no address."""
    try:
        # Whether mail can reach it shows when one is sent; asking name servers would hold up who registers.
        found = validate_email(
            text, check_deliverability=False, allow_smtputf8=False, test_environment=True, strict=True
        )
    except EmailNotValidError as error:
        raise Invalid("the e-mail address cannot be taken", pointers=[("#/email", str(error))]) from None
    if "=?" in found.local_part:  # the beginning of an encoded word (RFC 2047), of which readers make another address
        problem = "no mail can be sent to an address with =? before the @"
        raise Invalid("the e-mail address cannot be taken", pointers=[("#/email", problem)])
    return str(found.ascii_email).lower()


def spelling(text: str) -> str:
    """`text` in the spelling by which the throttle counts an address; what is no address, as it is."""
    try:
        return normal_email(text)
    except Invalid:
        return text


def applicant(email: str, name: str, password: str) -> User:
    """A customer who is nowhere stored yet. Raises Invalid. Hashes: call it in HashingThreads."""
    address = normal_email(email)
    passwords.check(password, about=(address, name))
    return User(email=address, name=name, password_hash=passwords.hash_password(password))


def register(database: Database, user: User) -> None:
    """Stores `user`, and asks for the mail that confirms the address. If that is taken, nothing is stored, nor said."""
    with suppress(Conflict):  # the address's owner, if it is them, can log in
        _store(database, user, verify=True)


def create(
    database: Database,
    email: str,
    name: str,
    password: str | None,
    role: str = CUSTOMER,
    *,
    actor: Actor | None = None,
) -> User:
    """Creates a user with any role; without a password nobody can log in as them. Raises Invalid and Conflict. Hashes.

    With an `actor` the audit log says so.
    """
    address = normal_email(email)
    _check_name(name)
    with database.reading() as session:
        permissions.require_role(session.connection(), role)
    if password is not None:
        passwords.check(password, about=(address, name))
    hashed = None if password is None else passwords.hash_password(password)
    user = User(email=address, name=name, password_hash=hashed, role=role)
    _store(database, user, actor=actor)
    return user


def _check_name(name: str) -> None:
    try:
        names.check(name)
    except ValueError as error:
        raise Invalid(f"the name {error}", pointers=[("#/name", str(error))]) from None


def _store(database: Database, user: User, *, verify: bool = False, actor: Actor | None = None) -> None:
    try:
        with database.transaction() as session:
            session.add(user)
            session.flush()
            if verify:
                mails.ask(session.connection(), Purpose.VERIFY_EMAIL, user.email)
            if actor is not None:
                audit_log.record(session.connection(), actor, "user.created", f"user:{user.id}", role=user.role)
            session.expunge(user)
    except IntegrityError as error:
        if "email" not in str(error.orig):
            raise
        raise Conflict(f"there is a user {user.email} already") from None


def sought(database: Database, email: str) -> User | None:
    """The user with this address, if it is one and known; for `is_theirs`."""
    try:
        return find_by_email(database, email)
    except Invalid:
        return None


def is_theirs(user: User | None, password: str) -> bool:
    """Whether somebody with `password` may log in as `user`: nobody, as one who is banned or deleted. Takes as long for all.

    Hashes: call it in HashingThreads, and nothing else: one of low priority that holds the interpreter's lock, holds up all.
    """
    matches = passwords.matches(password, user.password_hash if user else None)
    return matches and user is not None and not user.banned_at and not user.deleted_at


def upgrade(database: Database, user: User, fresh: str) -> None:
    """Puts a `fresh` hash in the place of the one that matched; not of one that somebody else has put there since."""
    old = (_users.c.id == user.id) & (_users.c.password_hash == user.password_hash)
    with database.transaction() as session:
        session.connection().execute(_users.update().where(old).values(password_hash=fresh))


def find_by_email(database: Database, email: str) -> User | None:
    """Raises Invalid for what is no address."""
    with database.reading() as session:
        theirs = select(User).where(_users.c.email == normal_email(email))
        return session.scalars(theirs.execution_options(query="users.by_email")).one_or_none()
