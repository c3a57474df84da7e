"""The database: its schema, its indexes and its plans, on the user's own where there is one; and the pool and the seed."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from sqlalchemy import inspect

from orderkit import migrating
from orderkit.db import Database
from orderkit.errors import ConfigurationError
from orderkit.explain import indexes, verdicts
from orderkit.explain.catalog import CATALOG
from orderkit.print_pack.checks.checking import Check, Fails, expect, same
from orderkit.print_pack.checks.site import Site

SEEDED = 200
OF_ORDERS = (
    "ix_orders_status_created_at",
    "ix_orders_user_id_created_at",
    "ix_orders_created_at",
)
NAMED = 3
"""So many of what is wrong are named."""


async def _schema(site: Site) -> str:
    database = site.connection_to()
    try:
        await asyncio.to_thread(migrating.require_current, database)
    except ConfigurationError as error:
        raise Fails(error.detail.partition(";")[0]) from None
    return f"{site.whose}, {_engine(database)}: revision {await asyncio.to_thread(migrating.current, database)}"


def _engine(database: Database) -> str:
    return indexes.ENGINES[database.engine.dialect.name]


async def _models(site: Site) -> str:
    database = site.connection_to()

    def keys() -> set[tuple[str, str, str]]:
        looked = inspect(database.engine)
        return {
            (table, one["constrained_columns"][0], str(one["referred_table"]))
            for table in ("orders", "order_items", "order_history", "payments")
            for one in looked.get_foreign_keys(table)
        }

    found = await asyncio.to_thread(keys)
    wanted = {("orders", "user_id", "users"), ("order_items", "order_id", "orders"), ("payments", "order_id", "orders")}
    missing = [f"{table}.{column} to {of}" for table, column, of in sorted(wanted - found)]
    expect(not missing, f"no foreign key from {', '.join(missing)}")
    return "orders.user_id refers to users; lines and payment refer to their order"


async def _indexes_there(site: Site) -> str:
    return await _present(site, [*indexes.all_indexes()])


async def _order_indexes(site: Site) -> str:
    await _present(site, list(OF_ORDERS))
    return f"{', '.join(OF_ORDERS)}"


async def _present(site: Site, names: list[str]) -> str:
    database = site.connection_to()

    def present() -> set[str]:
        with database.reading() as session:
            return {name for name, pages in verdicts.there(session.connection()).items() if pages != verdicts.INVALID}

    missing = sorted(set(names) - await asyncio.to_thread(present))
    expect(not missing, f"{site.whose} lacks {_some(missing)}")
    return f"{site.whose}: all {len(names)} are there"


async def _plans(site: Site) -> str:
    return await planned(site, lambda _name: True)


async def planned(site: Site, wanted: Callable[[str], bool]) -> str:
    """Plans those of the catalog on the database that the user has. Raises Fails, naming queries and what is wrong."""
    database = site.connection_to()
    queries = [query for name, query in CATALOG.items() if wanted(name)]
    found = await asyncio.to_thread(verdicts.explain, database, site.settings, queries)
    wrong = [f"{one.query.name}: {one.verdict}" for one in found if not one.holds]
    expect(not wrong, _some(wrong))
    asked = sum(one.verdict == verdicts.OK for one in found)
    rest = f", {len(found) - asked} with nothing to ask about yet" if asked < len(found) else ""
    return f"{site.whose}, {_engine(database)}: {asked} queries use their index{rest}"


async def _why(site: Site) -> str:
    unsaid = [name for name in indexes.all_indexes() if not re.search(r"For \w|A rule: \w", indexes.text(name))]
    expect(not unsaid, f"nothing says why there is {_some(unsaid)}")
    return f"{len(indexes.all_indexes())} indexes, each with the queries it serves or the rule it is, and its price"


async def _pool(site: Site) -> str:
    told = await site.live.metrics()
    found = re.search(r'(?m)^orderkit_db_pool_size\{pool="main"\} (\S+)$', told)
    size = float(found[1]) if found else 0.0
    same(size, float(site.live.settings.db_pool_size), "connections that the pool may hold")
    expect("orderkit_db_pool_in_use{" in told, "nothing tells how many connections are in use")
    return f"a pool of {size:.0f} connections, its use and its waits measured"


async def _seed(site: Site) -> str:
    live = site.live
    arguments = ("seed", "--orders", str(SEEDED), "--users", "20", "--days", "30")
    ran = await live.command(*arguments)
    same(ran.code, 0, "the exit code of orderkit seed")
    [row] = await live.rows(
        "SELECT count(*) AS orders FROM payments WHERE status IN ('imported', 'declined')"
        " AND id NOT IN (SELECT payment_id FROM payment_attempts)"
    )
    expect(row.orders >= SEEDED, f"{row.orders} orders were seeded, not {SEEDED}")
    return f"orderkit seed made {SEEDED} orders of 20 customers in 30 days"


def _some(wrong: list[str]) -> str:
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return "; ".join(wrong[:NAMED]) + more


CHECKS = (
    Check(
        "database.schema",
        "The database is at the revision of this version.",
        _schema,
        (
            "migrations/versions",
            "tests/migrations/test_schema.py::test_the_models_and_the_migrations_have_no_difference_that_alembic_can_see",
        ),
        alone=True,
    ),
    Check(
        "database.models",
        "Users and orders are tables, and an order belongs to a user by foreign key.",
        _models,
        (
            "orderkit/auth/models.py",
            "orderkit/orders/models.py",
            "tests/migrations/test_schema.py::test_every_column_constraint_and_index_is_what_the_models_would_make",
        ),
        alone=True,
    ),
    Check(
        "database.order_indexes",
        "Orders have indexes on status, user and time of creation.",
        _order_indexes,
        ("orderkit/orders/models.py", "tests/explain/test_indexes.py"),
        alone=True,
    ),
    Check(
        "database.indexes",
        "Every index that the models know is in the database.",
        _indexes_there,
        ("orderkit/doctor/database.py", "tests/cli/test_doctor.py"),
        alone=True,
    ),
    Check(
        "database.plans",
        "Every shipped query is answered by its index, as EXPLAIN shows.",
        _plans,
        (
            "orderkit/explain/catalog.py",
            "tests/explain/test_catalog.py::test_every_query_is_captured_and_planned_in_an_empty_shop",
        ),
        alone=True,
    ),
    Check(
        "database.why_indexes",
        "Each index says which query it is for, and what it costs.",
        _why,
        (
            "orderkit/explain/indexes.py",
            "docs/indexes.md",
            "tests/explain/test_indexes.py::test_every_index_says_what_it_is_for_and_what_it_costs",
        ),
    ),
    Check(
        "database.pool",
        "Connections come from a pool of a fixed size that is measured.",
        _pool,
        ("orderkit/db.py", "tests/db/test_transactions.py::test_a_wait_for_a_connection_has_a_bound"),
    ),
    Check(
        "database.seed",
        "One command fills the database with a believable past.",
        _seed,
        ("orderkit/orders/seeding.py", "tests/orders/test_seeding.py::test_the_rhythm_is_that_of_a_shop"),
    ),
)
