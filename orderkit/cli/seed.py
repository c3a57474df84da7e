"""`orderkit seed`: a past to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.orders.seeding import History, Shop

app = typer.Typer()


@app.command(epilog="Example: orderkit seed --orders 50000 --days 730")
def seed(
    orders: Annotated[int, typer.Option(min=0, max=100_000_000, help="Orders to make.")] = 10_000,
    days: Annotated[int, typer.Option(min=1, max=36_500, help="Days before today that they spread over.")] = 365,
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Customers who place them.")] = 2_000,
    seed: Annotated[int, typer.Option(help="Another number makes another history.")] = 1,
) -> None:
    """Fill the database with a believable past.

    The same options make the same history, so that running them again adds nothing but what an interruption left out.
    Products are made only if there are none. The users can log in; their password is random and shown once. Payments are
    `imported`: no provider took them and none can pay them back, so `orders refund` refuses these orders.
    """
    from orderkit import migrating
    from orderkit.analytics import rollups
    from orderkit.cli.progress import progress
    from orderkit.orders import seeding

    history = seeding.History(orders=orders, days=days, users=users, seed=seed)
    with opened_database() as database:
        migrating.require_current(database)
        shop = seeding.open_shop(database, history)
        _show(history, shop)
        with progress("seeding orders", orders) as advance:
            seeded = seeding.write(database, history, shop, progress=advance, after=rollups.add_past)
    there = orders - seeded.orders_created
    typer.echo(
        f"{seeded.orders_created:,} orders created, {seeded.refunds_created:,} of them refunded in whole or in part"
        + (f"; {there:,} of this history were there already" if there else "")
    )


def _show(history: History, shop: Shop) -> None:
    """Before the orders, so that the password is not lost with a run that is interrupted."""
    from orderkit.orders.seeding import email

    if shop.products_created:
        typer.echo(f"{shop.products_created:,} products created")
    who = f"{email(1)} to {email(history.users)}"
    if shop.password is None:
        typer.echo(f"users {who} were there already; their password was shown when they were made")
        return
    typer.echo(f"{shop.users_created:,} users created, of {who}")
    typer.echo(f"their password, shown only now: {shop.password}")
