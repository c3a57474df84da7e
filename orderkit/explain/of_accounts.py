"""Queries about accounts: the search, sessions, API keys, mails, the audit log, erasure."""

from __future__ import annotations

import base64
from datetime import timedelta

from orderkit.auth import (
    accounts,
    api_keys,
    audit_log,
    audit_sources,
    callers,
    directory,
    mails,
    moderation,
    sessions,
)
from orderkit.auth.audit_log import Actor
from orderkit.auth.links import Purpose
from orderkit.auth.models import AccountMail, LoginSession
from orderkit.auth.sessions import Holder
from orderkit.explain.query import NOBODY, Query
from orderkit.orders import erasure

_TOKEN = sessions.PREFIX + base64.urlsafe_b64encode(bytes(64)).decode().rstrip("=")

QUERIES = (
    Query(
        "users.get",
        "a user by id",
        "pk_users",
        lambda b: directory.page(b.connection, limit=20, q=str(b.order.user_id)),
    ),
    Query(
        "users.by_email",
        "the user with an address",
        "uq_users_email",
        lambda b: accounts.find_by_email(b.database, "somebody@example.com"),
    ),
    Query(
        "users.by_email_prefix",
        "search for users by the beginning of their address",
        "ix_users_email_search",
        lambda b: directory.page(b.connection, limit=20, q="so"),
        ordered=True,
    ),
    Query(
        "users.by_name_prefix",
        "search for users by the beginning of their name",
        "ix_users_name_search",
        lambda b: directory.page(b.connection, limit=20, q="so", after=directory.Position("name", "so", NOBODY)),
        ordered=True,
    ),
    Query(
        "users.unfolded",
        "users whose name the search does not know yet",
        "ix_users_name_search",
        lambda b: directory.fold_names(b.connection),
    ),
    Query(
        "users.other_admins",
        "whether another admin is left",
        "ix_users_admins",
        lambda b: moderation.is_without_admin(b.connection),
    ),
    Query(
        "users.to_erase",
        "deleted users of whom something is left, the longest due first",
        "ix_users_to_erase",
        lambda b: erasure.waiting(b.connection, limit=20),
        ordered=True,
    ),
    Query(
        "sessions.caller",
        "who calls with an access token, and what they may do",
        ("pk_sessions", "pk_users"),
        lambda b: callers.of_session(b.database, b.order.user_id, b.id_of(LoginSession)),
    ),
    Query(
        "sessions.admitted",
        "which callers of a batch of orders may still order",
        "pk_sessions",
        lambda b: sessions.admitted(b.connection, {Holder(b.order.user_id, b.id_of(LoginSession))}, b.at),
    ),
    Query(
        "sessions.of_user",
        "a user's logins, newest first",
        "ix_sessions_user_id",
        lambda b: sessions.page(b.connection, b.order.user_id, limit=20),
    ),
    Query(
        "sessions.refresh",
        "puts a new refresh token in the place of another",
        "pk_sessions",
        lambda b: sessions.refresh(b.database, _TOKEN),
    ),
    Query(
        "sessions.forget",
        "logins that expired, oldest first",
        "ix_sessions_expires_at",
        lambda b: sessions.forget(b.connection, before=b.at),
    ),
    Query(
        "sessions.forget_of_user",
        "logins of one user that are to end: of many the oldest, of the deleted all",
        "ix_sessions_user_id",
        lambda b: sessions.forget_of(b.connection, b.order.user_id),
    ),
    Query(
        "api_keys.caller",
        "who calls with an API key, and what it may do",
        "uq_api_keys_hash",
        lambda b: callers.of_api_key(b.database, "none"),
    ),
    Query(
        "api_keys.of_user",
        "a user's API keys, newest first",
        "ix_api_keys_user_id",
        lambda b: api_keys.page(b.connection, b.order.user_id, limit=20),
    ),
    Query(
        "api_keys.revoke_all",
        "a user's API keys that are good, revoked",
        "ix_api_keys_user_id",
        lambda b: api_keys.revoke_all(b.connection, Actor(None, "explain"), b.order.user_id),
    ),
    Query(
        "api_keys.forget",
        "API keys that expired or were revoked long ago",
        ("ix_api_keys_expires_at", "ix_api_keys_revoked_at"),
        lambda b: api_keys.forget(b.connection, before=b.at - timedelta(days=90)),
    ),
    Query(
        "mails.of_late",
        "how many mails an address was sent of late",
        "ix_account_mails_email",
        lambda b: mails.ask(b.connection, Purpose.VERIFY_EMAIL, "somebody@example.com"),
    ),
    Query(
        "mails.claim",
        "a mail that a worker was woken for, leased",
        "pk_account_mails",
        lambda b: mails.claim(b.connection, b.id_of(AccountMail)),
    ),
    Query(
        "mails.forget",
        "mails that were sent long ago, oldest first",
        "ix_account_mails_done",
        lambda b: mails.forget(b.connection, before=b.at - timedelta(days=30)),
    ),
    Query(
        "audit_log.by_time",
        "the audit log, newest first",
        "ix_audit_log_at",
        lambda b: audit_log.page(b.connection, limit=20),
        ordered=True,
    ),
    Query(
        "audit_log.of_subject",
        "the audit log of one user, role or key, newest first",
        "ix_audit_log_subject",
        lambda b: audit_log.page(b.connection, limit=20, subject="role:support"),
        ordered=True,
    ),
    Query(
        "audit_log.to_erase",
        "entries of a deleted user that say where they were",
        "ix_audit_log_actor_id",
        lambda b: audit_sources.erase(b.connection, b.order.user_id),
    ),
)
