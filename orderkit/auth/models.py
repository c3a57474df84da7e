"""Who may do things."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, Text
from sqlmodel import Field

from orderkit.clock import now
from orderkit.db import Table, UtcDateTime
from orderkit.ids import new_id

CUSTOMER = "customer"
ADMIN = "admin"


class User(Table, table=True):
    """A person or a counterpart of an import. Without a `password_hash` nobody can log in as them."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(f"role IN ('{CUSTOMER}', '{ADMIN}')", name="role_known"),
        CheckConstraint("email = lower(email)", name="email_lower"),
    )

    id: UUID = Field(default_factory=new_id, primary_key=True)
    email: str = Field(sa_type=Text, unique=True)
    name: str = Field(sa_type=Text)
    password_hash: str | None = Field(default=None, sa_type=Text)
    role: str = Field(default=CUSTOMER, sa_type=Text)
    created_at: datetime = Field(default_factory=now, sa_type=UtcDateTime)
