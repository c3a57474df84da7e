"""What may be done, and which role may do it. Routes ask for a permission and never for a role, so that roles can change.

Which permissions there are is code, because it is code that asks for them; which role has which is data, in the rows of
RolePermission, and counts from the next request on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from uuid import UUID, uuid5

from sqlalchemy import Connection, delete, insert, select

from orderkit.auth.models import Role, RolePermission
from orderkit.errors import Conflict, Invalid, NotFound

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


def of_roles(connection: Connection) -> dict[str, frozenset[str]]:
    """The permissions of every role, by the role's name."""
    found: dict[str, set[str]] = {name: set() for name in connection.execute(select(_roles.c.name)).scalars()}
    for role, permission in connection.execute(select(_grants.c.role, _grants.c.permission)):
        found[role].add(permission)
    return {role: frozenset(those) & PERMISSIONS.keys() for role, those in sorted(found.items())}


def descriptions(connection: Connection) -> Mapping[str, str]:
    """What each role is for, by its name."""
    return {row.name: row.description for row in connection.execute(select(_roles))}


def require_role(connection: Connection, role: str) -> None:
    """Raises Invalid, naming the roles there are, unless `role` is one."""
    known = list(connection.execute(select(_roles.c.name).order_by(_roles.c.name)).scalars())
    if role not in known:
        raise Invalid(f"there is no role {role}; roles are {', '.join(known)}", pointers=[("#/role", "is no role")])


def set_role(connection: Connection, role: str, wanted: Iterable[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Gives `role` exactly the permissions `wanted`, and answers those before and those after.

    Of two who do this at once, the second waits for the first: the role's row is locked. Raises NotFound, Invalid for a
    permission there is not, and Conflict where nobody would be left who could undo it: admin keeps `roles:manage`.
    """
    those = frozenset(wanted)
    if unknown := sorted(those - PERMISSIONS.keys()):
        raise Invalid(
            f"there is no permission {unknown[0]}; permissions are {', '.join(PERMISSIONS)}",
            pointers=[("#/permissions", f"{one[:64]} is no permission") for one in unknown],
        )
    locked = select(_roles.c.name).where(_roles.c.name == role).with_for_update(key_share=True)
    if connection.execute(locked).one_or_none() is None:
        raise NotFound(f"there is no role {role}")
    if role == "admin" and "roles:manage" not in those:
        raise Conflict("admin keeps roles:manage; without it nobody could give it back")
    before = of_role(connection, role)
    gone = before - those
    if gone:
        connection.execute(delete(_grants).where(_grants.c.role == role, _grants.c.permission.in_(gone)))
    if fresh := sorted(those - before):
        connection.execute(insert(_grants), [{"role": role, "permission": one} for one in fresh])
    return before, those
