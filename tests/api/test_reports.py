"""Reports over HTTP: what they take, what they answer, and in which form."""

from __future__ import annotations

import csv
import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from orderkit.analytics.facts import Sold
from orderkit.api import report_answers
from orderkit.api.report_answers import Answer
from orderkit.auth.models import User
from orderkit.clock import now
from orderkit.db import Database
from orderkit.ids import new_id
from tests import histories
from tests.client import Client
from tests.engines import decided_by_the_request
from tests.factories import make_product, make_user
from tests.histories import Back, Past

REPORTS = (
    "/analytics/orders-per-day",
    "/analytics/revenue-by-user",
    "/analytics/status-counts",
    "/admin/products/top-selling",
    "/admin/sales/report",
)
PAGED = ("/analytics/revenue-by-user", "/admin/products/top-selling")

Headers = dict[str, str]


def names(path: str) -> tuple[str, str]:
    return ("from_date", "to_date") if path == "/admin/sales/report" else ("from", "to")


@pytest.fixture
def analyst(api: Client, database: Database) -> Headers:
    return api.token(make_user(database, role="analyst"))


@pytest.fixture
def buyer(database: Database) -> User:
    return make_user(database, email="buyer@example.com")


def order(user: User, at: str, *, total: int = 1000, currency: str = "GBP", **more: Any) -> Past:
    lines = more.pop("lines", (Sold("TEA", 1, total),))
    told = {"country": "GB", "status": "paid"} | more
    return Past(datetime.fromisoformat(at), user.id, currency, lines=lines, **told)


def get(api: Client, path: str, headers: Headers) -> Any:
    answer = api.get(path, headers)
    assert answer.status == 200, answer
    return answer.json()


@pytest.fixture
def march(database: Database, buyer: User) -> None:
    """Two orders in British winter time, one just after summer time began, and money back on another day."""
    make_product(database, sku="TEA")
    day_later = datetime(2026, 3, 29, 23, 30, tzinfo=UTC)
    histories.write(
        database,
        [
            order(buyer, "2026-03-28T23:59:59+00:00", total=1000),
            order(buyer, "2026-03-29T00:00:00+00:00", total=301, refunds=(Back(day_later, 300),)),
            order(buyer, "2026-03-29T23:00:00+00:00", total=5000, currency="JPY"),
            order(buyer, "2026-03-29T12:00:00+00:00", status="payment_failed"),
        ],
    )


# ── what is answered ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("march")
def test_days_are_those_of_the_zone_and_currencies_are_never_summed(api: Client, analyst: Headers) -> None:
    answer = get(api, "/analytics/orders-per-day?tz=Europe/London", analyst)
    sums = [
        (one["date"], one["currency"], one["orders"], one["gross"], one["refunded"], one["net"], one["average"])
        for one in answer["items"]
    ]
    assert sums == [
        ("2026-03-28", "GBP", 1, 1000, 0, 1000, 1000),
        ("2026-03-29", "GBP", 1, 301, 0, 301, 301),
        ("2026-03-30", "GBP", 0, 0, 300, -300, None),
        ("2026-03-30", "JPY", 1, 5000, 0, 5000, 5000),
    ]
    assert (answer["from"], answer["to"], answer["tz"]) == (None, None, "Europe/London")
    assert (answer["source"], answer["lag_seconds"], answer["next_cursor"]) == ("primary", 0.0, None)
    assert "warning" not in answer
    assert now() - datetime.fromisoformat(answer["as_of"]) < timedelta(minutes=1)
    utc = get(api, "/analytics/orders-per-day?from=2026-03-29&to=2026-03-30&currency=GBP", analyst)
    assert [(one["date"], one["orders"], one["net"]) for one in utc["items"]] == [("2026-03-29", 1, 1)]


@pytest.mark.usefixtures("march")
def test_a_range_may_be_of_instants(api: Client, analyst: Headers) -> None:
    inside = quote("2026-03-29T02:00:00+02:00")
    answer = get(api, f"/analytics/orders-per-day?from={inside}&to=2026-03-29T00:00:00.000001Z", analyst)
    assert [(one["date"], one["gross"]) for one in answer["items"]] == [("2026-03-29", 301)]
    assert answer["from"] == "2026-03-29T00:00:00Z"


@pytest.mark.usefixtures("march")
def test_a_sales_report_has_totals_and_those_of_the_period_before(api: Client, analyst: Headers) -> None:
    where = "/admin/sales/report?from_date=2026-03-29&to_date=2026-03-30&compare=previous&currency=GBP"
    answer = get(api, where, analyst)
    assert answer["totals"] == [
        {"currency": "GBP", "orders": 1, "gross": 301, "refunded": 300, "net": 1, "average": 301}
    ]
    assert answer["previous"]["from"] == "2026-03-28"
    assert answer["previous"]["to"] == "2026-03-29"
    assert [one["gross"] for one in answer["previous"]["totals"]] == [1000]
    by_month = get(api, "/admin/sales/report?by=month", analyst)
    assert [(one["month"], one["currency"]) for one in by_month["items"]] == [("2026-03", "GBP"), ("2026-03", "JPY")]
    by_country = get(api, "/admin/sales/report?by=country&currency=JPY", analyst)
    assert [(one["country"], one["gross"]) for one in by_country["items"]] == [("GB", 5000)]
    assert "previous" not in by_country


@pytest.mark.usefixtures("march")
def test_users_products_and_statuses(api: Client, analyst: Headers, buyer: User) -> None:
    first, second = get(api, "/analytics/revenue-by-user", analyst)["items"]
    assert (first["user_id"], first["email"], first["currency"], first["net"]) == (
        str(buyer.id),
        "buyer@example.com",
        "JPY",
        5000,
    )
    assert (second["currency"], second["gross"], second["refunded"], second["net"]) == ("GBP", 1301, 300, 1001)
    assert get(api, "/admin/products/top-selling", analyst)["items"] == [
        {"sku": "TEA", "name": "Assam tea, 250 g", "quantity": 2, "revenue": 1301, "currency": "GBP"},
        {"sku": "TEA", "name": "Assam tea, 250 g", "quantity": 1, "revenue": 5000, "currency": "JPY"},
    ]
    richest = get(api, "/admin/products/top-selling?by=revenue&limit=1", analyst)
    assert [one["currency"] for one in richest["items"]] == ["JPY"]
    spent = get(api, f"/admin/users/{buyer.id}/spending?currency=GBP", analyst)
    assert spent["user_id"] == str(buyer.id)
    assert [(one["currency"], one["orders"], one["net"]) for one in spent["items"]] == [("GBP", 2, 1001)]
    counts = get(api, "/analytics/status-counts?to=2026-03-29", analyst)["items"]
    assert counts == [{"status": "paid", "orders": 1}]
    assert get(api, "/analytics/status-counts", analyst)["items"] == [
        {"status": "paid", "orders": 3},
        {"status": "payment_failed", "orders": 1},
    ]


def test_who_is_deleted_bought_still_and_has_no_address(api: Client, database: Database, analyst: Headers) -> None:
    make_product(database, sku="TEA")
    gone = make_user(database, deleted_at=now())
    histories.write(database, [order(gone, "2026-03-28T12:00:00+00:00")])
    (item,) = get(api, "/analytics/revenue-by-user", analyst)["items"]
    assert (item["user_id"], item["email"], item["net"]) == (str(gone.id), None, 1000)
    assert len(get(api, f"/admin/users/{gone.id}/spending", analyst)["items"]) == 1


def test_a_shop_without_orders_has_reports(api: Client, analyst: Headers) -> None:
    for path in REPORTS:
        assert get(api, path, analyst)["items"] == []


@pytest.mark.parametrize("path", PAGED)
def test_pages_of_any_size_have_each_once_and_in_order(
    api: Client, database: Database, analyst: Headers, rng: random.Random, path: str
) -> None:
    histories.make(database, rng, start=datetime(2026, 2, 1, tzinfo=UTC), days=40)
    every = get(api, f"{path}?limit=100", analyst)
    assert len(every["items"]) > 7
    for limit in (1, 3, 7):
        found: list[Any] = []
        cursor = ""
        while True:
            page = get(api, f"{path}?limit={limit}{cursor}", analyst)
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["next_cursor"] is None:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert found == every["items"]
    first = get(api, f"{path}?limit=3", analyst)["next_cursor"]
    assert api.get(f"{path}?limit=3&tz=Asia/Tokyo&cursor={first}", analyst).code == "cursor_invalid"
    assert api.get(f"{path}?limit=3&cursor={first[:-4]}AAAA", analyst).code == "cursor_invalid"


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────────────


@decided_by_the_request
@pytest.mark.parametrize("path", REPORTS)
def test_what_makes_no_sense_is_refused_where_it_is(api: Client, analyst: Headers, path: str) -> None:
    start, end = names(path)
    wrong = {
        f"{start}=2026-03-02&{end}=2026-03-01": end,
        f"{start}=2026-03-01T00:00:00": start,
        f"{end}=2026-03-01T00:00:00": end,
        f"{start}=2026-02-30": start,
        f"{start}=20260301": start,
        f"{start}=1772323200": start,
        f"{end}=": end,
        f"{end}=%00": end,
        "tz=Mars/Olympus": "tz",
        "tz=": "tz",
        "tz=../../etc/passwd": "tz",
        "currency=EURO": "currency",
        "currency=eur": "currency",
        "currency=XXX": "currency",
        "format=xml": "format",
        "form=2026-03-01": "form",
        "tz=UTC&tz=Asia/Tokyo": "tz",
    }
    for query, where in wrong.items():
        answer = api.get(f"{path}?{query}", analyst)
        assert (answer.status, answer.code) == (422, "validation_failed"), query
        assert answer.pointers == [f"#/query/{where}"], query
    both = api.get(f"{path}?{start}=x&tz=y&currency=z", analyst)
    assert both.pointers == [f"#/query/{start}", "#/query/tz", "#/query/currency"]
    assert api.get(f"{path}?{start}=2026-03-01&{end}=2026-03-01", analyst).status == 200


def test_a_range_that_does_not_begin_or_end_has_no_period_before(api: Client, analyst: Headers) -> None:
    answer = api.get("/admin/sales/report?compare=previous&from_date=2026-03-01", analyst)
    assert (answer.status, answer.pointers) == (422, ["#/query/to_date"])
    assert answer.json()["detail"] == "compare=previous needs from_date and to_date"


def test_spending_of_nobody_is_not_found(api: Client, analyst: Headers) -> None:
    assert api.get(f"/admin/users/{new_id()}/spending", analyst).code == "not_found"


@decided_by_the_request
@pytest.mark.parametrize("limit", ["0", "101", "1.0", "x"])
def test_pages_are_bounded(api: Client, analyst: Headers, limit: str) -> None:
    for path in PAGED:
        assert api.get(f"{path}?limit={limit}", analyst).status == 422


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("march")
@pytest.mark.parametrize("path", REPORTS)
def test_csv_has_what_json_has(api: Client, analyst: Headers, path: str) -> None:
    told = api.get(path, analyst | {"Accept": "text/csv"})
    assert told.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    assert told.headers["vary"] == "Accept"
    assert b"\n" not in told.body.replace(b"\r\n", b"")
    rows = list(csv.DictReader(io.StringIO(told.body.decode(), newline="")))
    expected = get(api, path, analyst)["items"]
    assert rows == [{name: "" if value is None else str(value) for name, value in item.items()} for item in expected]
    assert api.get(f"{path}?format=csv", analyst).body == told.body


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("application/json", "application/json"),
        ("text/csv", "text/csv"),
        ("text/csv, */*;q=0.1", "text/csv"),
        ("text/csv;q=0.5, application/json", "application/json"),
        ("text/csv;q=0", "application/json"),
        ("text/csv;q=x", "application/json"),
        ("TEXT/CSV; header=present", "text/csv"),
    ],
)
def test_the_form_is_the_one_that_is_preferred(api: Client, analyst: Headers, accept: str, kind: str) -> None:
    answer = api.get("/analytics/status-counts", analyst | {"Accept": accept})
    assert answer.headers["content-type"].split(";")[0] == kind
    forced = api.get("/analytics/status-counts?format=json", analyst | {"Accept": accept})
    assert forced.headers["content-type"] == "application/json"


def test_csv_leads_to_the_next_page_by_a_link(api: Client, database: Database, analyst: Headers) -> None:
    make_product(database, sku="TEA")
    users = [make_user(database) for _ in range(3)]
    histories.write(database, [order(one, "2026-03-28T12:00:00+00:00") for one in users])
    where, seen = "/analytics/revenue-by-user?limit=2&format=csv", []
    while where:
        answer = api.get(where, analyst)
        seen += [row["user_id"] for row in csv.DictReader(io.StringIO(answer.body.decode()))]
        link = answer.headers.get("link", "")
        where = link.removeprefix("<").removesuffix('>; rel="next"')
    assert seen == sorted(str(one.id) for one in users)


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", 'a "b", c\r\nd', "plain"]
)
def test_no_cell_of_csv_is_a_formula(text: str) -> None:
    """OWASP, CSV Injection; RFC 4180."""
    written = report_answers.as_csv(Answer(("sku", "net"), [{"sku": text, "net": -5}], {}, "net"))
    (row,) = list(csv.DictReader(io.StringIO(written, newline="")))
    assert row["net"] == "-5"  # a number is no formula
    assert row["sku"] == (text if text[0] in "ap" else f"'{text}")
