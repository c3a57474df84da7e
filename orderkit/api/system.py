"""How the installation is, for those who look after it."""

from __future__ import annotations

import platform
from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from orderkit import __version__, migrating
from orderkit.api import problems
from orderkit.api.dependencies import Running, Runtime, requires
from orderkit.auth.callers import Caller
from orderkit.breaker import State
from orderkit.errors import Unavailable
from orderkit.observability import pools
from orderkit.system.state import MOST, SystemState

router = APIRouter(prefix="/admin/system", tags=["system"])


class BacklogAnswer(BaseModel):
    """What waits of one kind. Dead letters wait for a person, events for the relay, the rest for a task of the worker."""

    kind: str = Field(examples=["fulfillments"])
    waiting: int = Field(le=MOST, description=f"Counted up to {MOST:,}, which means: more than {MOST - 1:,}.")
    due: int = Field(le=MOST, description="Those that may be done now.")
    oldest_seconds: float = Field(description="How long the oldest has been waiting.")
    overdue_seconds: float = Field(description="How long ago that which is due longest could have been done.")


class ParcelsAnswer(BaseModel):
    """How many fulfillments are in each status that comes before shipment; 10,001 of them are looked at."""

    queued: int
    running: int
    retrying: int


class Versions(BaseModel):
    """`schema_wanted` is the newest revision that this version of orderkit knows."""

    orderkit: str
    python: str
    database: str = Field(examples=["postgresql 18.4"])
    schema_found: str | None
    schema_wanted: str


class ProviderAnswer(BaseModel):
    """`breaker` is that of the process which answers; the worker has its own, and alone speaks to the carrier.

    `open`: calls are held back. `half_open`: the pause is over, and the next order's call tells how the provider is.
    """

    role: Literal["gateway", "carrier"]
    name: str
    breaker: State | None


class PoolAnswer(BaseModel):
    """A pool of connections of the process which answers."""

    name: str
    size: int
    in_use: int


class SystemAnswer(BaseModel):
    at: datetime = Field(description="When this was read from the database; at most 5 s ago.")
    backlogs: list[BacklogAnswer]
    fulfillments: ParcelsAnswer
    rollup_lag_seconds: float = Field(
        description="How long an event has been waiting to be summed; reports read it by itself until then."
    )
    versions: Versions
    providers: list[ProviderAnswer]
    pools: list[PoolAnswer]


@router.get("", responses=problems.responses(401, 403, 503))
def get_system(app: Running, _staff: Annotated[Caller, Depends(requires("system:read"))]) -> SystemAnswer:
    """What waits and for how long, which versions run, and how this process stands with its providers and its database."""
    state = app.system.state()
    if state is None:
        raise Unavailable("the database does not say in time how the system is; try again in a moment")
    return SystemAnswer(
        at=state.at,
        backlogs=_backlogs(state),
        fulfillments=ParcelsAnswer(**state.fulfillments),
        rollup_lag_seconds=state.age(state.rollups_since),
        versions=_versions(app),
        providers=[
            ProviderAnswer(role="gateway", name=app.gateway.name, breaker=app.breaker.state),
            ProviderAnswer(role="carrier", name=app.settings.carrier_name, breaker=None),
        ],
        pools=[PoolAnswer(name=one.name, size=one.size, in_use=one.in_use) for one in pools.of_this_process()],
    )


def _backlogs(state: SystemState) -> list[BacklogAnswer]:
    return [
        BacklogAnswer(
            kind=kind,
            waiting=backlog.waiting,
            due=backlog.due,
            oldest_seconds=state.age(backlog.oldest),
            overdue_seconds=state.age(backlog.due_since),
        )
        for kind, backlog in state.backlogs.items()
    ]


def _versions(app: Runtime) -> Versions:
    with app.database.reading() as session:
        dialect = session.connection().dialect
        server = ".".join(map(str, dialect.server_version_info or ()))
    return Versions(
        orderkit=__version__,
        python=platform.python_version(),
        database=f"{dialect.name} {server}",
        schema_found=migrating.current(app.database),
        schema_wanted=migrating.head(),
    )
