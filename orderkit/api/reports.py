"""Reports over HTTP, for whoever may read them: as JSON, or as CSV for a spreadsheet."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from orderkit.analytics import asking
from orderkit.analytics.asking import Asked, Names
from orderkit.analytics.reports.ranking import Place
from orderkit.api import problems, report_answers
from orderkit.api.dependencies import Running, requires
from orderkit.api.pagination import Paging, paging
from orderkit.api.parameters import only
from orderkit.api.report_answers import Answer

CSV = "text/csv"
RANGE, PAGE = ("from", "to", "tz", "currency", "format"), ("limit", "cursor")
HEADER_TYPES = {"lag_seconds": "number"}
DATES = Names("from_date", "to_date")

router = APIRouter(tags=["reports"], dependencies=[Depends(requires("analytics:read"))])

# ── what is asked ────────────────────────────────────────────────────────────────────────────────────────────────────

_START = "The first day, as 2026-03-01, in the zone `tz`; or the first instant (RFC 3339, with its zone). Unset: all there is."
_END = "The day, or the instant, before which it ends."
Start = Annotated[str | None, Query(alias="from", max_length=40, description=_START)]
End = Annotated[str | None, Query(alias="to", max_length=40, description=_END)]
StartDate = Annotated[str | None, Query(alias="from_date", max_length=40, description=_START)]
EndDate = Annotated[str | None, Query(alias="to_date", max_length=40, description=_END)]
Zone = Annotated[str, Query(max_length=64, description="Whose days they are: a time zone of IANA, as Europe/London.")]
Currency = Annotated[
    str | None, Query(max_length=8, description="Only what was sold in it. Amounts of different ones are never summed.")
]
Format = Annotated[
    Literal["json", "csv"] | None, Query(description="Unset: CSV for whoever prefers `text/csv` by Accept, else JSON.")
]


async def ranged(start: Start = None, end: End = None, tz: Zone = "UTC", currency: Currency = None) -> Asked:
    """The dependency of reports. Raises Invalid."""
    return asking.asked(start, end, tz, currency)


async def dated(start: StartDate = None, end: EndDate = None, tz: Zone = "UTC", currency: Currency = None) -> Asked:
    """The same, under the names that the sales report has for it. Raises Invalid."""
    return asking.asked(start, end, tz, currency, names=DATES)


async def wants_csv(request: Request, format: Format = None) -> bool:
    """The dependency of reports that says in which form."""
    if format is not None:
        return format == "csv"
    quality = _preferences(request.headers.get("accept", ""))
    return quality.get(CSV, 0.0) > quality.get("application/json", quality.get("application/*", 0.0))


def _preferences(accept: str) -> dict[str, float]:
    """The quality of each kind that an Accept header names (RFC 9110, section 12.5.1); 0 if it is not a number."""
    found: dict[str, float] = {}
    for one in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in one.split(";"))
        told = next((part[2:] for part in parameters if part.startswith("q=")), "1")
        try:
            found[kind] = float(told)
        except ValueError:
            found[kind] = 0.0
    return found


Ranged = Annotated[Asked, Depends(ranged)]
Dated = Annotated[Asked, Depends(dated)]
AsCsv = Annotated[bool, Depends(wants_csv)]
Paged = Annotated[Paging, Depends(paging)]


# ── what is answered ─────────────────────────────────────────────────────────────────────────────────────────────────


class SumsAnswer(BaseModel):
    """In minor units. An order counts when it was placed, a refund when it was asked for."""

    currency: str
    orders: int
    gross: int
    refunded: int
    net: int
    average: int | None = Field(description="Gross of an order, half a minor unit rounded up; null without orders.")


class DaySums(SumsAnswer):
    date: date


class MonthSums(SumsAnswer):
    month: str = Field(examples=["2026-03"])


class CountrySums(SumsAnswer):
    country: str | None = Field(description="Null where no address was given.")


class UserSums(SumsAnswer):
    user_id: UUID
    email: str | None = Field(description="Null of somebody who is deleted.")


class ProductSums(BaseModel):
    sku: str
    name: str
    quantity: int
    revenue: int = Field(description="What its lines came to, in minor units, whatever of it was refunded later.")
    currency: str


class StatusCount(BaseModel):
    status: str
    orders: int


class Previous(BaseModel):
    from_: str = Field(alias="from")
    to: str
    totals: list[SumsAnswer]


class ReportAnswer(BaseModel):
    """What every report tells of itself."""

    next_cursor: str | None = Field(description="Always null where a report answers all there is.")
    from_: str | None = Field(alias="from")
    to: str | None
    tz: str
    as_of: datetime | None = Field(description="It is true of this moment; null where a replica does not know.")
    source: Literal["primary", "replica"]
    lag_seconds: float | None = Field(description="How far the replica was behind.")
    warning: str | None = Field(
        None,
        description="Present if the replica should have been read and could not be, or cannot say how far behind it is.",
    )


class DailyReport(ReportAnswer):
    items: list[DaySums]
    totals: list[SumsAnswer]


class UserReport(ReportAnswer):
    items: list[UserSums]


class StatusReport(ReportAnswer):
    items: list[StatusCount]


class ProductReport(ReportAnswer):
    items: list[ProductSums]


class SpendingReport(ReportAnswer):
    user_id: UUID
    items: list[SumsAnswer]


class SalesReport(ReportAnswer):
    items: list[DaySums | MonthSums | CountrySums]
    totals: list[SumsAnswer]
    previous: Previous | None = Field(None, description="With `compare=previous`.")


def _documented(model: type[BaseModel], *statuses: int) -> dict[str, Any]:
    """What a route says of its answers: the report in either form, and how it is refused."""
    # CSV has rows alone, so that what a report says of itself is in headers, too.
    headers = {
        name: {"description": f"As `{member}` of the JSON.", "schema": {"type": HEADER_TYPES.get(member, "string")}}
        for name, member in report_answers.HEADERS.items()
    }
    csv = {"schema": {"type": "string"}}
    forms = {200: {"content": {CSV: csv}, "headers": headers, "description": "The report."}}
    return {"response_model": model, "responses": forms | problems.responses(*statuses)}


def _answer(answer: Answer, as_csv: bool, next_cursor: str | None = None, more_at: str | None = None) -> Response:
    headers = {"Vary": "Accept", "Cache-Control": "no-store"} | report_answers.headers(answer)
    if more_at is not None:
        headers["Link"] = f'<{more_at}>; rel="next"'
    if as_csv:
        return Response(
            report_answers.as_csv(answer), headers=headers, media_type=f"{CSV}; charset=utf-8; header=present"
        )
    content = json.dumps(answer.members(next_cursor), ensure_ascii=False, separators=(",", ":"), default=str)
    return Response(content, headers=headers, media_type="application/json")


def _page(request: Request, answer: Answer, as_csv: bool, paging: Paging, of: dict[str, Any]) -> Response:
    """A page; CSV has no place for the cursor, so that a Link header leads on (RFC 8288)."""
    if answer.last is None:
        return _answer(answer, as_csv)
    cursor = paging.cursor(of, answer.last)
    asked = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return _answer(answer, as_csv, cursor, f"{request.url.path}?{urlencode([*asked, ('cursor', cursor)])}")


# ── the reports ──────────────────────────────────────────────────────────────────────────────────────────────────────


@router.get(
    "/analytics/orders-per-day",
    dependencies=[Depends(only(*RANGE))],
    **_documented(DailyReport, 401, 403, 422, 503),
)
def orders_per_day(app: Running, asked: Ranged, as_csv: AsCsv) -> Response:
    """Orders and money of each day of the range on which there were any, in each currency."""
    return _answer(report_answers.by_time_or_country(app.reports, asked, "day"), as_csv)


@router.get(
    "/analytics/revenue-by-user",
    dependencies=[Depends(only(*RANGE, *PAGE))],
    **_documented(UserReport, 400, 401, 403, 422, 503),
)
def revenue_by_user(request: Request, app: Running, asked: Ranged, paging: Paged, as_csv: AsCsv) -> Response:
    """What each user brought, in each currency, by net, highest first. Amounts of two currencies compare as numbers."""
    of = {"list": "revenue-by-user", **asked.told()}
    after = paging.after(of, Place)
    answer = report_answers.by_user(app.reports, asked, limit=paging.limit, after=after)
    return _page(request, answer, as_csv, paging, of)


@router.get(
    "/analytics/status-counts",
    dependencies=[Depends(only(*RANGE))],
    **_documented(StatusReport, 401, 403, 422, 503),
)
def status_counts(app: Running, asked: Ranged, as_csv: AsCsv) -> Response:
    """How many of the orders that were placed in the range are in which status now."""
    return _answer(report_answers.by_status(app.reports, asked), as_csv)


@router.get(
    "/admin/products/top-selling",
    dependencies=[Depends(only(*RANGE, *PAGE, "by"))],
    **_documented(ProductReport, 400, 401, 403, 422, 503),
)
def top_selling(
    request: Request,
    app: Running,
    asked: Ranged,
    paging: Paged,
    as_csv: AsCsv,
    by: Annotated[Literal["quantity", "revenue"], Query(description="What the highest of comes first.")] = "quantity",
) -> Response:
    """What sold most, in each currency: pieces and revenue of orders that were placed in the range."""
    of = {"list": "top-selling", **asked.told(), "by": by}
    after = paging.after(of, Place)
    answer = report_answers.by_product(app.reports, asked, by, limit=paging.limit, after=after)
    return _page(request, answer, as_csv, paging, of)


@router.get(
    "/admin/users/{user_id}/spending",
    dependencies=[Depends(only(*RANGE))],
    **_documented(SpendingReport, 401, 403, 404, 422, 503),
)
def spending(user_id: UUID, app: Running, asked: Ranged, as_csv: AsCsv) -> Response:
    """What one user spent, in each currency. One who is deleted still did."""
    return _answer(report_answers.of_user(app.reports, asked, user_id), as_csv)


@router.get(
    "/admin/sales/report",
    dependencies=[Depends(only(DATES.start, DATES.end, "tz", "currency", "format", "by", "compare"))],
    **_documented(SalesReport, 401, 403, 422, 503),
)
def sales_report(
    app: Running,
    asked: Dated,
    as_csv: AsCsv,
    by: Annotated[
        Literal["day", "month", "country"], Query(description="`country` is where orders are delivered to.")
    ] = "day",
    compare: Annotated[
        Literal["previous"] | None,
        Query(description="Also tells the totals of the period before: as many whole months, days, or as much time."),
    ] = None,
) -> Response:
    """What was sold by day, by month or by country of delivery, and all in all, in each currency."""
    before = None if compare is None else asking.before(asked, names=DATES)
    return _answer(report_answers.by_time_or_country(app.reports, asked, by, before=before), as_csv)
