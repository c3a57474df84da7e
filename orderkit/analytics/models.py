"""Rollups: what was sold, given back and moved, summed beforehand by time: a report costs the same at any number of orders."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, Index, Text, text
from sqlmodel import Field

from orderkit.analytics.periods import Grain
from orderkit.db import BigSum, Table, UtcDateTime

KINDS = ("total", "country", "status", "user", "product")
GRAINS: tuple[Grain, ...] = ("quarter", "hour", "day", "month")

FINE_GRAINS: tuple[Grain, ...] = ("quarter", "hour", "day")
"""Of `total`, `country` and `status`: every zone's day of today is whole quarters of an hour."""
COARSE_GRAINS: tuple[Grain, ...] = ("day", "month")
"""Of `user` and `product`, of which there are many."""
GRAINS_OF = {
    "total": FINE_GRAINS,
    "country": FINE_GRAINS,
    "status": FINE_GRAINS,
    "user": COARSE_GRAINS,
    "product": COARSE_GRAINS,
}

_OF_USERS = text("kind = 'user'")


class Rollup(Table, table=True):
    """Sums over the facts of one bucket: `bucket` is its first instant, in UTC; buckets nest, a quarter in an hour in a day in
    a month.

    `key` is the country ('' if unknown), status, user's id or SKU; '' for `total`. `orders` counts those of which the money
    came, or, of a status, those that are in it; `gross` is their total and `refunded` what was given back, in minor units.
    A row of zeros says as much as no row.
    """

    __tablename__ = "rollups"
    __table_args__ = (
        CheckConstraint(f"kind IN ({', '.join(map(repr, KINDS))})", name="kind_known"),
        CheckConstraint(f"grain IN ({', '.join(map(repr, GRAINS))})", name="grain_known"),
        # spending of one user
        Index("ix_rollups_of_users", "key", "grain", "bucket", postgresql_where=_OF_USERS, sqlite_where=_OF_USERS),
    )

    kind: str = Field(sa_type=Text, primary_key=True)
    grain: str = Field(sa_type=Text, primary_key=True)
    bucket: datetime = Field(sa_type=UtcDateTime, primary_key=True)
    currency: str = Field(sa_type=Text, primary_key=True)
    key: str = Field(sa_type=Text, primary_key=True)
    orders: int = Field(sa_type=BigSum)
    gross: int = Field(sa_type=BigSum)
    refunds: int = Field(sa_type=BigSum)
    refunded: int = Field(sa_type=BigSum)
    pieces: int = Field(sa_type=BigSum)
