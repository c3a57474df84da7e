"""Identity: roles and permissions as data, profiles, sessions, API keys, signing keys, account mails, the audit log.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision: str | None = "0001"

ROLES = {
    "customer": "Orders, and sees and cancels own orders.",
    "support": "Helps customers: sees, changes and refunds everyone's orders.",
    "operations": "Keeps goods moving: stock, orders and what could not be shipped.",
    "analyst": "Reads orders and reports.",
    "creator": "Writes the catalog.",
    "moderator": "Finds, bans and removes users.",
    "admin": "May do everything, and says who may do what.",
}
GRANTS = {
    "support": ("orders:read", "orders:write", "orders:refund"),
    "operations": ("catalog:write", "inventory:write", "orders:read", "orders:write", "fulfillment:manage"),
    "analyst": ("analytics:read", "orders:read"),
    "creator": ("catalog:write",),
    "moderator": ("users:manage",),
    "admin": (
        "analytics:read",
        "audit:read",
        "catalog:write",
        "fulfillment:manage",
        "inventory:write",
        "orders:read",
        "orders:refund",
        "orders:write",
        "roles:manage",
        "users:manage",
    ),
}


def _users() -> sa.Table:
    """The table as 0001 made it, for SQLite, which changes a constraint by copying the table."""
    return sa.Table(
        "users",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("role IN ('customer', 'admin')", name="ck_users_role_known"),
        sa.CheckConstraint("email = lower(email)", name="ck_users_email_lower"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )


def upgrade() -> None:
    roles = op.create_table(
        "roles",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
    )
    grants = op.create_table(
        "role_permissions",
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("permission", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name=op.f("fk_role_permissions_role_roles")),
        sa.PrimaryKeyConstraint("role", "permission", name=op.f("pk_role_permissions")),
    )
    op.bulk_insert(roles, [{"name": name, "description": text} for name, text in ROLES.items()])
    op.bulk_insert(grants, [{"role": role, "permission": one} for role, those in GRANTS.items() for one in those])
    in_bytes = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    with op.batch_alter_table("users", copy_from=_users()) as users:
        users.add_column(sa.Column("avatar_url", sa.Text(), nullable=True))
        users.add_column(sa.Column("bio", sa.Text(), nullable=True))
        users.add_column(sa.Column("token_version", sa.Integer(), server_default=sa.text("0"), nullable=False))
        for name in ("verified_at", "banned_at", "deleted_at", "erase_at", "erased_at"):
            users.add_column(sa.Column(name, sa.DateTime(timezone=True), nullable=True))
        users.add_column(sa.Column("search_name", in_bytes, nullable=True))
        users.drop_constraint(op.f("ck_users_role_known"), type_="check")
        users.create_check_constraint(op.f("ck_users_token_version_not_negative"), "token_version >= 0")
        users.create_foreign_key(op.f("fk_users_role_roles"), "roles", ["role"], ["name"])
    op.create_table(
        "sessions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_version", sa.Integer(), nullable=False),
        sa.Column("family_hash", sa.Text(), nullable=False),
        sa.Column("refresh_hash", sa.Text(), nullable=False),
        sa.Column("user_agent", sa.Text(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index("ix_sessions_user_id", "sessions", ["user_id", "created_at"], unique=False)
    op.create_index("ix_sessions_expires_at", "sessions", ["expires_at"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("permissions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_api_keys_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("hash", name=op.f("uq_api_keys_hash")),
    )
    op.create_index("ix_api_keys_user_id", "api_keys", ["user_id", "created_at"], unique=False)
    op.create_index("ix_api_keys_expires_at", "api_keys", ["expires_at"], unique=False)
    revoked = sa.text("revoked_at IS NOT NULL")
    op.create_index(
        "ix_api_keys_revoked_at",
        "api_keys",
        ["revoked_at"],
        unique=False,
        postgresql_where=revoked,
        sqlite_where=revoked,
    )
    op.create_table(
        "signing_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("salt", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_keys")),
    )
    op.create_table(
        "account_mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("run_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("woken_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('verify_email', 'reset_password')", name=op.f("ck_account_mails_kind_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_mails")),
    )
    unsent = sa.text("done_at IS NULL")
    op.create_index(
        "ix_account_mails_due", "account_mails", ["run_at"], unique=False, postgresql_where=unsent, sqlite_where=unsent
    )
    op.create_table(
        "audit_log",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.Uuid(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at", "id"], unique=False)
    op.create_index("ix_audit_log_subject", "audit_log", ["subject", "at", "id"], unique=False)
    from_somewhere = sa.text("source <> 'erased'")
    op.create_index(
        "ix_audit_log_actor_id",
        "audit_log",
        ["actor_id"],
        unique=False,
        postgresql_where=from_somewhere,
        sqlite_where=from_somewhere,
    )


def downgrade() -> None:
    for table in ("audit_log", "account_mails", "signing_keys", "api_keys", "sessions"):
        op.drop_table(table)
    op.execute("UPDATE users SET role = 'customer' WHERE role NOT IN ('customer', 'admin')")
    now = sa.Table(
        "users",
        sa.MetaData(),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("avatar_url", sa.Text(), nullable=True),
        sa.Column("bio", sa.Text(), nullable=True),
        sa.Column("token_version", sa.Integer(), nullable=False),
        *(
            sa.Column(name, sa.DateTime(timezone=True))
            for name in ("verified_at", "banned_at", "deleted_at", "erase_at", "erased_at")
        ),
        sa.Column("search_name", sa.Text(), nullable=True),
        sa.CheckConstraint("email = lower(email)", name="ck_users_email_lower"),
        sa.CheckConstraint("token_version >= 0", name="ck_users_token_version_not_negative"),
        sa.ForeignKeyConstraint(["role"], ["roles.name"], name="fk_users_role_roles"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    with op.batch_alter_table("users", copy_from=now) as users:
        users.drop_constraint(op.f("fk_users_role_roles"), type_="foreignkey")
        users.drop_constraint(op.f("ck_users_token_version_not_negative"), type_="check")
        users.create_check_constraint(op.f("ck_users_role_known"), "role IN ('customer', 'admin')")
        for name in (
            "search_name",
            "erased_at",
            "erase_at",
            "deleted_at",
            "banned_at",
            "verified_at",
            "token_version",
            "bio",
            "avatar_url",
        ):
            users.drop_column(name)
    op.drop_table("role_permissions")
    op.drop_table("roles")
