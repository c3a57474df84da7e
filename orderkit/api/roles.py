"""Roles and what they may do, over HTTP. A change counts from the next request of whoever has the role."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Acting, Running, requires
from orderkit.api.json_body import Body, StrictRoute
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth import roles
from orderkit.auth.callers import Caller
from orderkit.auth.permissions import PERMISSIONS, permission_id
from orderkit.auth.roles import Described

Manager = Annotated[Caller, Depends(requires(roles.NEEDED))]
Name = Annotated[str, Field(min_length=1, max_length=64)]

router = APIRouter(tags=["roles"], route_class=StrictRoute)


class PermissionAnswer(BaseModel):
    """Something that may be done. The id is the same in every installation."""

    id: UUID
    name: str
    description: str


class RoleAnswer(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    description: str
    permissions: list[str] = Field(description="Names, in alphabetical order.")


class PermissionsIn(Body):
    permissions: Annotated[list[Name], Field(max_length=100, description="All that the role is to have.")]


@router.get("/permissions", responses=problems.responses(400, 401, 403, 422, 503))
def list_permissions(_manager: Manager, paging: Annotated[Paging, Depends(paging)]) -> Page[PermissionAnswer]:
    """What can be allowed, by name."""
    of = {"list": "permissions"}
    after = paging.after(of, str) or ""
    found = [name for name in sorted(PERMISSIONS) if name > after]

    def shown(those: Sequence[str]) -> list[PermissionAnswer]:
        return [PermissionAnswer(id=permission_id(one), name=one, description=PERMISSIONS[one]) for one in those]

    return paging.page(of, found, lambda one: one, shown)


@router.get("/roles", responses=problems.responses(400, 401, 403, 422, 503))
def list_roles(app: Running, _manager: Manager, paging: Annotated[Paging, Depends(paging)]) -> Page[RoleAnswer]:
    """The roles and what each may do, by name."""
    of = {"list": "roles"}
    after = paging.after(of, str) or ""
    with app.database.reading() as session:
        found = [one for one in roles.listing(session.connection()) if one.name > after]
    return paging.page(of, found, lambda one: one.name, lambda those: [RoleAnswer.model_validate(one) for one in those])


@router.put(
    "/roles/{name}/permissions",
    response_model=RoleAnswer,
    responses=problems.responses(400, 401, 403, 404, 409, 413, 415, 422, 503),
)
def set_permissions(
    name: Annotated[str, Path(max_length=64)], body: PermissionsIn, app: Running, manager: Manager, actor: Acting
) -> Described:
    """Gives a role exactly these permissions, at once. Nobody gives or takes what they do not have themselves: 403.

    Named twice is named once. `admin` keeps every permission there is: 409.
    """
    with app.database.transaction() as session:
        return roles.set_permissions(session.connection(), actor, name, body.permissions, by=manager)
