"""Who changed what about who may do what, over HTTP: to be read, and nothing else."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict, Field

from orderkit.api import problems
from orderkit.api.dependencies import Running, requires
from orderkit.api.pagination import Page, Paging, paging
from orderkit.auth import audit_log
from orderkit.auth.callers import Caller

router = APIRouter(prefix="/admin/audit-log", tags=["roles"])


class EntryAnswer(BaseModel):
    """One change. Whom it names, it names by id."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    at: datetime
    actor_id: UUID | None = Field(description="The user who made it; null for the command line.")
    source: str = Field(description="The address it came from, or the command line and its user there.")
    action: str = Field(examples=["role.permissions_changed"])
    subject: str = Field(examples=["role:support"])
    detail: dict[str, Any]
    request_id: str | None


@router.get("", responses=problems.responses(400, 401, 403, 422, 503))
def list_entries(
    app: Running,
    _auditor: Annotated[Caller, Depends(requires("audit:read"))],
    paging: Annotated[Paging, Depends(paging)],
    subject: Annotated[
        str | None,
        Query(
            max_length=200,
            pattern=r"^[\x21-\x7e]+$",
            description="Only what was done to this: `user:<id>`, `role:<name>`, `api_key:<id>`, `signing_key:<id>`.",
        ),
    ] = None,
) -> Page[EntryAnswer]:
    """The audit log, newest first."""
    of = {"list": "audit-log", "subject": subject}
    after = paging.after(of, audit_log.Position)
    with app.database.reading() as session:
        found = audit_log.page(session.connection(), limit=paging.limit + 1, subject=subject, after=after)
    return paging.page(
        of, found, lambda last: last.position, lambda shown: [EntryAnswer.model_validate(one) for one in shown]
    )
