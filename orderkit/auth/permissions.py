"""What may be done, and which role may do it. Routes ask for a permission and never for a role, so that roles can change.

Which permissions there are is code, because it is code that asks for them; which role has which is data, in the rows of
RolePermission, and counts from the next request on.
"""

from __future__ import annotations

from uuid import UUID, uuid5

from sqlalchemy import Connection, select

from orderkit.auth.models import Role, RolePermission
from orderkit.errors import Invalid

PERMISSIONS: dict[str, str] = {
    "analytics:read": "See the reports.",
    "audit:read": "See who changed what about users, roles and keys.",
    "catalog:write": "Add and change products.",
    "fulfillment:manage": "See, retry and discard what could not be shipped.",
    "inventory:write": "Record receipts and adjustments of stock.",
    "orders:read": "See everyone's orders.",
    "orders:refund": "Give money back.",
    "orders:write": "Change and cancel everyone's orders.",
    "roles:manage": "See the roles, and say what each may do.",
    "system:read": "See how the installation is: what waits, for how long, and which versions run.",
    "users:manage": "Find, ban and delete users, and give them roles.",
}

OWN_ORDERS = "orders:own"
SCOPES: dict[str, str] = {OWN_ORDERS: "Place orders, and see and cancel one's own."} | PERMISSIONS
"""What an API key can be limited to. Every account may handle its own orders, so that is no permission of a role."""

_NAMESPACE = UUID("6f726465-726b-4974-8000-7065726d6973")
_roles = Role.__table__  # type: ignore[attr-defined]
_grants = RolePermission.__table__  # type: ignore[attr-defined]


def permission_id(name: str) -> UUID:
    """The id of a permission: the same in every installation (RFC 9562, version 5)."""
    return uuid5(_NAMESPACE, name)


def of_role(connection: Connection, role: str) -> frozenset[str]:
    """The permissions of `role`; none for a role that is not known. Those that this version does not know are left out."""
    found = connection.execute(select(_grants.c.permission).where(_grants.c.role == role)).scalars()
    return frozenset(found) & PERMISSIONS.keys()


def require_role(connection: Connection, role: str) -> None:
    """Raises Invalid, naming the roles there are, unless `role` is one."""
    known = list(connection.execute(select(_roles.c.name).order_by(_roles.c.name)).scalars())
    if role not in known:
        raise Invalid(f"there is no role {role}; roles are {', '.join(known)}", pointers=[("#/role", "is no role")])
