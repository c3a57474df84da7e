"""`orderkit stock`: what is left of what, why, and moving it, in the hands of whoever operates the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from orderkit.cli import printing, repeating
from orderkit.cli.acting import acting, check_reason
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from orderkit.catalog.models import Product
    from orderkit.db import Database
    from orderkit.idempotency import Replay
    from orderkit.inventory.models import StockMovement
    from orderkit.settings import Settings

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]

MAX_PIECES = 2**53 - 1  # money.MAX_AMOUNT, which would take its import


@app.callback(epilog="Example: orderkit stock show --low")
def stock() -> None:
    """See what is left and why, and record receipts and adjustments."""


@app.command(epilog="Example: orderkit stock show --low · orderkit stock show TEA-001")
def show(
    sku: Annotated[str | None, typer.Argument(help="Only this product, with its latest movements.")] = None,
    low: Annotated[bool, typer.Option("--low", help="Only what is at its threshold or below.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many at most.")] = 100,
    json_: Json = False,
) -> None:
    """Show what is left of the products, by SKU, or of one and why.

    The stock of one is what its movements come to, less what orders took.
    """
    if sku is not None:
        if low:
            raise typer.BadParameter("--low is for all products; leave the SKU out")
        _show_one(sku, limit, json_=json_)
        return
    from orderkit.catalog import prices, products

    with opened_database() as database, database.reading() as session:
        found = products.page(session, limit=limit + 1, low=low)
        priced = prices.by_product(session.connection(), [one.sku for one in found])
    shown = [_members(one, priced) for one in found[:limit]]
    if json_:
        printing.as_json(shown)
    elif shown:
        columns = ("sku", "name", "stock", "low_stock_at", "low", "prices")
        printing.table(columns, [_cells(one) for one in shown])
    else:
        typer.echo("none")
    if len(found) > limit:
        typer.echo(f"there are more: orderkit stock show{' --low' * low} --limit {10 * limit}", err=True)


def _show_one(sku: str, limit: int, *, json_: bool) -> None:
    from orderkit.auth import directory
    from orderkit.catalog import prices, products
    from orderkit.inventory import movements

    with opened_database() as database, database.reading() as session:
        product = products.find(session, sku)
        priced = prices.by_product(session.connection(), [sku])
        found = movements.page(session, sku, limit=limit + 1)
        took = movements.total(session, sku) - product.stock
        authors = {one.author_id for one in found[:limit] if one.author_id}
        emails = directory.emails(session.connection(), authors)
    shown = _members(product, priced)
    if json_:
        printing.as_json(shown | {"orders_took": took, "movements": [_movement(one) for one in found[:limit]]})
    else:
        names = ("sku", "name", "stock", "low_stock_at", "low", "prices")
        for name, value in [*zip(names, _cells(shown), strict=True), ("orders took", took)]:
            typer.echo(f"{name:15}{'' if value is None else value}".rstrip())
        typer.echo()
        rows = [
            (
                printing.instant(one.created_at),
                f"{one.delta:+}",
                one.reason,
                one.author_id and emails.get(one.author_id, one.author_id),
            )
            for one in found[:limit]
        ]
        printing.table(("moved_at", "delta", "reason", "author"), rows)
    if len(found) > limit:
        typer.echo(f"there are more: orderkit stock show {sku!r} --limit {10 * limit}", err=True)


def _members(product: Product, priced: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """What `--json` prints: prices in minor units, by currency, the product's own among them."""
    return {
        "sku": product.sku,
        "name": product.name,
        "stock": product.stock,
        "low_stock_at": product.low_stock_at,
        "low": product.low_stock_at is not None and product.stock <= product.low_stock_at,
        "prices": {product.currency: product.unit_price} | dict(priced.get(product.sku, {})),
    }


def _cells(one: Mapping[str, Any]) -> list[Any]:
    from orderkit.money import to_text

    prices = " · ".join(to_text(amount, currency) for currency, amount in one["prices"].items())
    return [one["sku"], one["name"], one["stock"], one["low_stock_at"], "low" if one["low"] else None, prices]


def _movement(one: StockMovement) -> dict[str, Any]:
    return one.model_dump(include={"id", "delta", "reason", "author_id", "created_at"})


def _some(delta: int) -> int:
    if delta == 0:
        raise typer.BadParameter("a movement of 0 is none")
    return delta


@app.command(
    epilog='Example: orderkit stock move TEA-001 12 --reason delivery · orderkit stock move TEA-001 -3 --reason "broken"',
    context_settings={"ignore_unknown_options": True},  # -3 is pieces, and no option
)
def move(
    sku: Annotated[str, typer.Argument(help="Of which product.")],
    delta: Annotated[
        int,
        typer.Argument(
            min=-MAX_PIECES, max=MAX_PIECES, callback=_some, help="Pieces received, or taken away if negative."
        ),
    ],
    reason: Annotated[str, typer.Option(help="Why; it is kept for ever.")],
    key: repeating.Given = None,
    json_: Json = False,
) -> None:
    """Record a receipt or an adjustment and change the stock by it; never below nothing.

    Each call is a movement of its own, unless it has the key of another, which it tells on stderr.
    """
    import json

    from orderkit.settings import load_settings

    check_reason(reason)
    known = repeating.Key(key)
    settings = load_settings()
    with opened_database(settings) as database:
        given = _moved(database, settings, known, sku, delta, reason)
    if given.replayed:
        typer.echo("this key has made a movement before; nothing more is moved", err=True)
    product = json.loads(given.answer.body)
    if json_:
        printing.as_json(product)
    else:
        typer.echo(f"{sku}: {product['stock'] - delta} → {product['stock']}")


def _moved(database: Database, settings: Settings, key: repeating.Key, sku: str, delta: int, reason: str) -> Replay:
    """Moves stock under the key, or finds what the key moved before; the answer is what `--json` prints."""
    import json
    from datetime import timedelta

    from sqlmodel import Session

    from orderkit import idempotency
    from orderkit.batches import alone
    from orderkit.catalog import prices
    from orderkit.clock import now
    from orderkit.idempotency import Answer, Claim, KeyId
    from orderkit.ids import new_id
    from orderkit.inventory import stock as stocks

    movement_id, why = new_id(), f"{acting().source}: {reason}"
    asked = idempotency.fingerprint("stock move", sku, {"delta": delta, "reason": reason})

    def act(connection: Connection) -> Replay:
        def move_it() -> Answer:
            with Session(connection) as session:
                product = stocks.move(session, sku, delta, why, None, movement_id=movement_id)
                told = _members(product, prices.by_product(connection, [sku]))
            key.tell()  # all is decided, and nothing is committed yet
            return Answer(200, json.dumps(told, ensure_ascii=False))

        return idempotency.once(
            connection,
            Claim(KeyId(idempotency.COMMAND_LINE, key.text), asked, movement_id),
            move_it,
            at=now(),
            lease=timedelta(seconds=settings.lease),
            ttl=timedelta(days=settings.idempotency_ttl_days),
            location=lambda _movement_id, _same: f"/products/{sku}/movements",
        )

    return alone(database, act)
