"""Queries of the reports and of what they are summed from. Whoever adds one names it at its site and here, with the
function that asks it."""

from __future__ import annotations

from datetime import datetime, timedelta

from orderkit.analytics import facts, rebuild
from orderkit.analytics.asking import asked
from orderkit.analytics.periods import floor
from orderkit.analytics.reports import ranking, sales, spending, statuses
from orderkit.analytics.tallies import Books
from orderkit.explain.query import Bench, Query


def _day(bench: Bench) -> tuple[datetime, datetime]:
    start = floor(bench.order.created_at, "day")
    return start, start + timedelta(days=1)


def _month(bench: Bench) -> datetime:
    return floor(bench.order.created_at, "month")


QUERIES = (
    Query(
        "reports.extent",
        "the first and the last day that there is to report",
        "pk_rollups",
        lambda b: Books(b.connection).extent("total"),
        ordered=True,
    ),
    Query(
        "reports.months",
        "months of which there is anything to report",
        "pk_rollups",
        lambda b: Books(b.connection).stretches("total"),
    ),
    Query(
        "reports.by_time",
        "what was sold by day, by month, by country, or became of orders by status",
        "pk_rollups",
        lambda b: sales.report(Books(b.connection), asked()),
    ),
    Query(
        "reports.users_by_net",
        "revenue by user, highest first",
        "pk_rollups",
        lambda b: ranking.users(Books(b.connection), asked(), limit=20),
    ),
    Query(
        "reports.products_by_sales",
        "products that sell best",
        "pk_rollups",
        lambda b: ranking.products(Books(b.connection), asked(), "quantity", limit=20),
    ),
    Query(
        "reports.spending",
        "what one user spent",
        "ix_rollups_of_users",
        lambda b: spending.report(Books(b.connection), asked(), b.order.user_id),
    ),
    Query(
        "reports.user",
        "whether there ever was such a user",
        "pk_users",
        lambda b: spending.require(b.connection, b.order.user_id),
    ),
    Query(
        "reports.emails",
        "addresses of the users of a report",
        "pk_users",
        lambda b: ranking.users(Books(b.connection), asked(), limit=20),
    ),
    Query(
        "reports.names",
        "names of the products of a report",
        "pk_products",
        lambda b: ranking.products(Books(b.connection), asked(), "quantity", limit=20),
    ),
    Query(
        "reports.pending",
        "how many orders of a time are pending now",
        "ix_orders_status_created_at",
        lambda b: statuses.report(Books(b.connection), asked()),
    ),
    Query(
        "analytics.orders_between",
        "orders of a time that no bucket covers, and of a day that is recounted",
        "ix_orders_created_at",
        lambda b: b.connection.execute(facts.orders_between(*_day(b))),
    ),
    Query(
        "analytics.orders_of_user_between",
        "one user's orders of a time that no bucket covers",
        "ix_orders_user_id_created_at",
        lambda b: b.connection.execute(facts.orders_between(*_day(b), b.order.user_id)),
    ),
    Query(
        "analytics.lines_between",
        "the lines of those orders",
        "ix_orders_created_at",
        lambda b: b.connection.execute(facts.lines_between(*_day(b))),
    ),
    Query(
        "analytics.refunds_between",
        "refunds of such a time",
        "ix_refunds_succeeded",
        lambda b: b.connection.execute(facts.refunds_between(*_day(b))),
    ),
    Query(
        "analytics.rollups_of_day",
        "sums of a day that is recounted",
        "pk_rollups",
        lambda b: b.connection.execute(rebuild.rows_within(*_day(b))),
    ),
    Query(
        "analytics.rollups_of_month",
        "sums of a month that is recounted",
        "pk_rollups",
        lambda b: b.connection.execute(rebuild.rows_of_month(_month(b))),
    ),
    Query(
        "analytics.rollups_summed_for_month",
        "what the days of a month add up to",
        "pk_rollups",
        lambda b: b.connection.execute(rebuild.sums_of_days(b.connection, _month(b), b.at)),
    ),
    Query(
        "analytics.unknown_countries",
        "orders of a day from before they had a country of their own",
        "ix_orders_created_at",
        lambda b: rebuild._know_countries(b.database, _day(b)[0]),
    ),
)
