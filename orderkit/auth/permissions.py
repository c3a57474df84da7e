"""What each role may do. Routes ask for a permission and never for a role, so that roles can change under them."""

from __future__ import annotations

from orderkit.auth.models import ADMIN, CUSTOMER, User

PERMISSIONS: dict[str, str] = {
    "catalog:write": "Add and change products.",
    "inventory:write": "Record receipts and adjustments of stock.",
    "orders:read": "See everyone's orders.",
    "orders:write": "Change and cancel everyone's orders.",
    "orders:refund": "Give money back.",
    "fulfillment:manage": "See, retry and discard what could not be shipped.",
}

ROLES: dict[str, frozenset[str]] = {
    CUSTOMER: frozenset(),
    ADMIN: frozenset(PERMISSIONS),
}


def of_role(role: str) -> frozenset[str]:
    """The permissions of `role`; none for a role that is not known."""
    return ROLES.get(role, frozenset())


def allows(user: User, permission: str) -> bool:
    """Whether `user` may do what `permission` names. Raises KeyError for a name that is not in PERMISSIONS."""
    PERMISSIONS[permission]
    return permission in of_role(user.role)
