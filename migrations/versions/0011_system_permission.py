"""The permission to see how the installation is, for the roles that look after it.

Rows only. Code that does not know the permission passes it over.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision: str | None = "0010"

PERMISSION = "system:read"
ROLES = ("admin", "operations", "support")

_grants = sa.table("role_permissions", sa.column("role", sa.Text()), sa.column("permission", sa.Text()))


def upgrade() -> None:
    op.bulk_insert(_grants, [{"role": role, "permission": PERMISSION} for role in ROLES])


def downgrade() -> None:
    op.execute(_grants.delete().where(_grants.c.permission == PERMISSION))
