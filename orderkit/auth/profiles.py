"""What somebody says of themselves: their name, a picture, a few lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from sqlalchemy import Connection, update

from orderkit.auth import authority, sessions
from orderkit.auth.models import User, folded

MAX_URL = 500
MAX_BIO = 500

_VISIBLE = re.compile(r"[!#-;=?-\[\]_a-z~]+")
"""What an address can consist of (RFC 3986)."""

_users = User.__table__  # type: ignore[attr-defined]


def check_avatar_url(url: str) -> str:
    """`url`, which is an absolute https address. Raises ValueError. Nobody here ever asks what is there: browsers do."""
    try:
        parts = urlsplit(url)
        named = parts.hostname and parts.port != 0
    except ValueError:  # no port, or half an IPv6 address
        named = None
    if not named or parts.scheme != "https" or "@" in parts.netloc or not _VISIBLE.fullmatch(url):
        raise ValueError("is no https address with a host and without a user")
    return url


def check_bio(text: str) -> str:
    """`text`, which may have line breaks and no other control characters. Raises ValueError."""
    if re.search(r"[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f]", text):
        raise ValueError("has control characters other than line breaks")
    return text


def change(connection: Connection, user_id: UUID, values: Mapping[str, Any]) -> Any:
    """Sets those of name, avatar_url and bio that `values` has; None clears. The user's row as it is then.

    Raises Unauthenticated if they were deleted meanwhile.
    """
    user = authority.lock_user(connection, user_id)
    if user is None:
        raise sessions.over()
    if not values:
        return user
    new = dict(values)
    if "name" in new:
        new["search_name"] = folded(new["name"])
    return connection.execute(update(_users).where(_users.c.id == user_id).values(new).returning(_users)).one()
