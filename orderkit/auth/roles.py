"""Roles, and what each may do. A change counts from the next request on, and is in the audit log or not made at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, and_, delete, insert, select

from orderkit.auth import audit_log, authority
from orderkit.auth.audit_log import Actor
from orderkit.auth.callers import Caller
from orderkit.auth.models import ADMIN, Role, RolePermission
from orderkit.auth.permissions import PERMISSIONS, of_role
from orderkit.errors import Conflict, Forbidden, Invalid, NotFound

NEEDED = "roles:manage"

_roles = Role.__table__  # type: ignore[attr-defined]
_grants = RolePermission.__table__  # type: ignore[attr-defined]

Permissions = frozenset[str]


@dataclass(frozen=True, slots=True)
class Described:
    """A role, with its permissions in alphabetical order; those that this version does not know are left out."""

    name: str
    description: str
    permissions: tuple[str, ...]


def listing(connection: Connection) -> Sequence[Described]:
    """Every role, by name."""
    query = select(_roles.c.name, _roles.c.description, _grants.c.permission).join(_grants, isouter=True)
    found: dict[str, tuple[str, set[str]]] = {}
    for name, description, permission in connection.execute(query):
        found.setdefault(name, (description, set()))[1].add(permission)
    return [
        Described(name, description, tuple(sorted(those & PERMISSIONS.keys())))
        for name, (description, those) in sorted(found.items())
    ]


def set_permissions(
    connection: Connection, actor: Actor, role: str, wanted: Sequence[str], *, by: Caller | None
) -> Described:
    """Gives `role` exactly the permissions `wanted`, some of which may be named twice.

    `by` is who asks over the API: they give and take nothing but what they may do themselves when it is their turn. None
    may do anything. Raises NotFound; Invalid, with pointers into `#/permissions`, for a permission there is not; Conflict
    where admin would lose any; Forbidden; Unauthenticated.
    """
    _require_known(wanted)
    return _change(connection, actor, role, lambda _before: frozenset(wanted), by)


def grant(connection: Connection, actor: Actor, role: str, these: Sequence[str]) -> Described:
    """Adds permissions to those of `role`. Raises what `set_permissions` does."""
    _require_known(these)
    return _change(connection, actor, role, lambda before: before.union(these), None)


def revoke(connection: Connection, actor: Actor, role: str, these: Sequence[str]) -> Described:
    """Takes permissions from `role`, as far as it has them. Raises what `set_permissions` does."""
    _require_known(these)
    return _change(connection, actor, role, lambda before: before.difference(these), None)


def _require_known(these: Sequence[str]) -> None:
    unknown = [(number, one) for number, one in enumerate(these) if one not in PERMISSIONS]
    if unknown:
        raise Invalid(
            f"there is no permission {unknown[0][1]}; permissions are {', '.join(PERMISSIONS)}",
            pointers=[(f"#/permissions/{number}", "is no permission") for number, _one in unknown],
        )


def _change(
    connection: Connection, actor: Actor, role: str, decide: Callable[[Permissions], Permissions], by: Caller | None
) -> Described:
    held = authority.held_in_turn(connection, by, NEEDED)
    row = connection.execute(select(_roles).where(_roles.c.name == role)).one_or_none()
    if row is None:
        known = ", ".join(connection.execute(select(_roles.c.name).order_by(_roles.c.name)).scalars())
        raise NotFound(f"there is no role {role}; roles are {known}")
    before = of_role(connection, role)
    after = decide(before)
    added, removed = sorted(after - before), sorted(before - after)
    if role == ADMIN and removed:
        raise Conflict(
            f"{ADMIN} keeps every permission there is: nobody gives what they do not have, so what {ADMIN} lost could"
            f" not be given back; give a user another role instead"
        )
    lacking = [] if held is None else [one for one in (*added, *removed) if one not in held]
    if lacking:
        raise Forbidden(f"nobody gives or takes what they do not have: {', '.join(lacking)}")
    if removed:
        connection.execute(delete(_grants).where(and_(_grants.c.role == role, _grants.c.permission.in_(removed))))
    if added:
        connection.execute(insert(_grants), [{"role": role, "permission": one} for one in added])
    if added or removed:
        audit_log.record(connection, actor, "role.permissions_changed", f"role:{role}", added=added, removed=removed)
    return Described(role, row.description, tuple(sorted(after)))
