"""Who may do things: users, their roles, their sessions and keys, and what was changed about them."""

from __future__ import annotations

import unicodedata
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, Integer, Text, text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Json, Table, UtcDateTime
from orderkit.ids import new_id

CUSTOMER = "customer"
ADMIN = "admin"
ERASED = "erased"
"""The `source` of an entry in the audit log whose actor is deleted."""

_TO_ERASE = text("erase_at IS NOT NULL")
_ADMINS = text("role = 'admin'")
_REVOKED = text("revoked_at IS NOT NULL")
_FROM_SOMEWHERE = text("source <> 'erased'")
_THERE = text("deleted_at IS NULL")
_UNSENT = text("done_at IS NULL")
_DONE = text("done_at IS NOT NULL")


SEARCHED = 100
"""Characters of a name that the search looks at."""


def folded(name: str) -> str:
    """The beginning of a name as the search sees it: without regard to case, or to how its letters are composed."""
    return unicodedata.normalize("NFKC", name).casefold()[:SEARCHED]


def _folded_name(context: Any) -> str:
    return folded(context.get_current_parameters()["name"])


class Role(Table, table=True):
    """A name for a set of permissions. Its row is locked while the set changes."""

    __tablename__ = "roles"

    name: str = Field(sa_type=Text, primary_key=True)
    description: str = Field(sa_type=Text)


class RolePermission(Table, table=True):
    """That a role has a permission. Which permissions there are is said by the code that asks for them."""

    __tablename__ = "role_permissions"

    role: str = Field(sa_type=Text, primary_key=True, foreign_key="roles.name")
    permission: str = Field(sa_type=Text, primary_key=True)


class User(Table, table=True):
    """A person or a counterpart of an import. Without a `password_hash` nobody can log in as them.

    Raising `token_version` ends every session at once. A deleted user keeps id and orders and nothing that says who they
    were; `erase_at` is when the worker looks next for what is left of them, `erased_at` when it found that nothing is. Whoever
    changes `name` changes `search_name`; where it is NULL, the worker fills it in.
    """

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("email = lower(email)", name="email_lower"),
        CheckConstraint("token_version >= 0", name="token_version_not_negative"),
        # What of the deleted is still to be erased: a handful of rows, whatever the number of users.
        Index("ix_users_to_erase", "erase_at", postgresql_where=_TO_ERASE, sqlite_where=_TO_ERASE),
        # The search by the beginning of an address, in the order of its bytes whatever the database's language is.
        Index(
            "ix_users_email_search",
            "email",
            postgresql_ops={"email": "text_pattern_ops"},
            postgresql_where=_THERE,
            sqlite_where=_THERE,
        ),
        # The search by the beginning of a name; and who has no folded name yet.
        Index("ix_users_name_search", "search_name", "id", postgresql_where=_THERE, sqlite_where=_THERE),
        # Whether another admin is left.
        Index("ix_users_admins", "id", postgresql_where=_ADMINS, sqlite_where=_ADMINS),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    email: str = Field(sa_type=Text, unique=True)
    name: str = Field(sa_type=Text)
    password_hash: str | None = Field(default=None, sa_type=Text)
    role: str = Field(default=CUSTOMER, sa_type=Text, foreign_key="roles.name")
    avatar_url: str | None = Field(default=None, sa_type=Text)
    bio: str | None = Field(default=None, sa_type=Text)
    token_version: int = Field(default=0, sa_type=Integer, sa_column_kwargs={"server_default": text("0")})
    verified_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    banned_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    deleted_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    erase_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    erased_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    search_name: str | None = Field(
        default=None,
        sa_type=Text().with_variant(Text(collation="C"), "postgresql"),
        sa_column_kwargs={"default": _folded_name},
    )


class LoginSession(Table, table=True):
    """One login, and the family of refresh tokens that came of it, of which only the newest is good. Ended, it is deleted.

    Both hashes are SHA-256 in hexadecimal. `family_hash` is of the part that all refresh tokens of a login share: whoever
    shows it beside a part that is not the newest shows a token that was used before.
    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_user_id", "user_id", "created_at"),  # their owner's list
        Index("ix_sessions_expires_at", "expires_at"),  # forgetting the expired
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    user_id: UUID = Field(foreign_key="users.id")
    token_version: int = Field(sa_type=Integer)
    family_hash: str = Field(sa_type=Text)
    refresh_hash: str = Field(sa_type=Text)
    user_agent: str | None = Field(default=None, sa_type=Text)
    address: str | None = Field(default=None, sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    refreshed_at: datetime = Field(sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)


class ApiKey(Table, table=True):
    """A key with which a machine acts for a user, within `permissions`. `hash` is SHA-256 in hexadecimal."""

    __tablename__ = "api_keys"
    __table_args__ = (
        Index("ix_api_keys_user_id", "user_id", "created_at"),  # their owner's list
        Index("ix_api_keys_expires_at", "expires_at"),  # forgetting the expired
        # Forgetting the revoked.
        Index("ix_api_keys_revoked_at", "revoked_at", postgresql_where=_REVOKED, sqlite_where=_REVOKED),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    user_id: UUID = Field(foreign_key="users.id")
    name: str = Field(sa_type=Text)
    prefix: str = Field(sa_type=Text)
    hash: str = Field(sa_type=Text, unique=True)
    permissions: list[str] = Field(sa_type=Json)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    expires_at: datetime = Field(sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    revoked_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class SigningKey(Table, table=True):
    """A key that signs access tokens: derived from the installation's secret and `salt`, so that neither alone is enough.

    The newest that is not retired signs; all that are not retired are accepted.
    """

    __tablename__ = "signing_keys"

    id: UUID = Field(default_factory=new_id, primary_key=True)
    salt: str = Field(sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    retired_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AccountMail(Table, table=True):
    """A mail that is to be sent about an account: to whom and what about, and never the link that will be in it.

    `email` is as it was asked for, whether anybody has it or not; `done_at` is when it was sent, or found to be nobody's.
    """

    __tablename__ = "account_mails"
    __table_args__ = (
        Index("ix_account_mails_due", "run_at", postgresql_where=_UNSENT, sqlite_where=_UNSENT),  # the worker's loop
        Index("ix_account_mails_email", "email", "kind", "created_at"),  # how many an address was sent of late
        Index("ix_account_mails_done", "done_at", postgresql_where=_DONE, sqlite_where=_DONE),  # forgetting
        CheckConstraint("kind IN ('verify_email', 'reset_password')", name="kind_known"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    kind: str = Field(sa_type=Text)
    email: str = Field(sa_type=Text)
    run_at: datetime = Field(sa_type=UtcDateTime)
    woken_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    attempts: int = Field(default=0, sa_type=Integer)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    done_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AuditEntry(Table, table=True):
    """One change of who may do what: who made it, when, to whom or what, and from where. Never deleted, and never changed
    but for this: when its actor is deleted, `source` becomes "erased", because an address says who somebody was.

    `subject` is `user:<id>`, `role:<name>`, `api_key:<id>`, `signing_key:<id>`. `source` is the address of the caller, or
    the command line and its user there. Nothing in it names a person but by id.
    """

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_at", "at", "id"),  # the list, newest first
        Index("ix_audit_log_subject", "subject", "at", "id"),  # the list of one subject
        # What is to be erased of an actor who is deleted.
        Index("ix_audit_log_actor_id", "actor_id", postgresql_where=_FROM_SOMEWHERE, sqlite_where=_FROM_SOMEWHERE),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
    actor_id: UUID | None = Field(default=None)
    source: str = Field(sa_type=Text)
    action: str = Field(sa_type=Text)
    subject: str = Field(sa_type=Text)
    detail: dict[str, Any] = Field(sa_type=Json)
    request_id: str | None = Field(default=None, sa_type=Text)
