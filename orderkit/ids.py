"""Ids are UUIDv7 (RFC 9562): unique without asking the database, and rows made together lie together in an index."""

from __future__ import annotations

from uuid import UUID

from uuid_utils.compat import uuid7

__all__ = ["UUID", "new_id"]


def new_id() -> UUID:
    return uuid7()
