"""`orderkit orders`: orders, in the hands of whoever operates the shop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from orderkit.cli import order_list, order_naming, printing, repeating
from orderkit.cli.acting import acting, check_reason, require_meant
from orderkit.cli.database import opened_database

if TYPE_CHECKING:
    from orderkit.db import Database
    from orderkit.idempotency import Replay
    from orderkit.orders.refund_lines import AskedLine
    from orderkit.settings import Settings

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print it as JSON.")]
Named = Annotated[str, typer.Argument(metavar="ORDER", help="Number or id of the order, as `list` shows them.")]

MAX_PIECES = 1_000_000
"""Of one line of a refund, as over HTTP."""

MAX_AMOUNT = 2**53 - 1  # money.MAX_AMOUNT, which would take its import

STORY = 1000
"""So much of what happened to an order is shown at once."""


@app.callback(epilog="Example: orderkit orders list --status paid · orderkit orders show 1001")
def orders() -> None:
    """Find orders and look after them."""


app.command("list", epilog="Example: orderkit orders list --status paid --from 2026-03-01 --limit 50")(order_list.list_)


@app.command(epilog="Example: orderkit orders show 1001")
def show(order: Named, json_: Json = False) -> None:
    """Show one order and its story: who did what, and what provider and carrier said."""
    from orderkit.api import answers, timeline
    from orderkit.orders import reading, refund_lines

    with opened_database() as database:
        order_id = _named(database, order)
        with database.reading() as session:
            connection = session.connection()
            found = reading.find(connection, order_id)
            assert found is not None  # noqa: S101 - it was just there, and orders are never deleted
            (answer,) = answers.orders(connection, [found], to_staff=True)
            story = timeline.page(connection, found, limit=STORY, to_staff=True)
            refunded = refund_lines.taken(connection, found.payment_id)
    if json_:
        printing.as_json(answer | {"timeline": story.items})
    else:
        from orderkit.cli import order_printing

        order_printing.show(answer, story.items, refunded)
    if story.more_after is not None:
        typer.echo(f"the story is longer: GET /orders/{order_id}/timeline has all of it", err=True)


@app.command(epilog='Example: orderkit orders cancel 1001 --reason "ordered twice"')
def cancel(
    order: Named,
    reason: Annotated[str, typer.Option(help="Why; the order's owner may read it.")] = "by the shop",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False,
    json_: Json = False,
) -> None:
    """Cancel an order that is not shipped yet: its stock and its money go back."""
    from orderkit.api import answers
    from orderkit.orders import cancellation, reading, states
    from orderkit.orders.states import OrderStatus

    check_reason(reason)
    with opened_database() as database:
        order_id = _named(database, order)
        with database.reading() as session:
            found = reading.find(session.connection(), order_id)
        assert found is not None  # noqa: S101 - it was just there, and orders are never deleted
        if found.status != OrderStatus.CANCELLED:
            states.check(found.status, OrderStatus.CANCELLED)
            require_meant(yes, f"Cancel order {order} for good?", "this cannot be undone")
        with database.transaction() as session:
            connection = session.connection()
            cancelled = cancellation.cancel(connection, order_id, reason=reason, request_id=acting().source)
            (answer,) = answers.orders(connection, [cancelled], to_staff=True)
    if json_:
        printing.as_json(answer)
    else:
        typer.echo(f"order {order} is cancelled; its stock is back, and the worker pays back what was paid")


def _minor_units(text: str) -> int:
    """Raises BadParameter, also for `5.00`, which would else be five pence."""
    if not text.isascii() or not text.isdigit():
        raise typer.BadParameter("it is in minor units, without a point: 500 is 5.00 GBP")
    if len(text) > 16 or not 1 <= int(text) <= MAX_AMOUNT:
        raise typer.BadParameter(f"it is from 1 to {MAX_AMOUNT}")
    return int(text)


@app.command(
    epilog="Example: orderkit orders refund 1001 --line 1:2 --restock · orderkit orders refund 1001 --amount 500"
)
def refund(
    order: Named,
    amount: Annotated[
        int | None,
        typer.Option(
            parser=_minor_units,
            metavar="AMOUNT",
            help="In minor units of its currency: 500 is 5.00 GBP.",
            show_default="all",
        ),
    ] = None,
    line: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LINE:PIECES", help="Instead: so many pieces of a line, as `show` counts them. Repeatable."
        ),
    ] = None,
    sku: Annotated[
        list[str] | None, typer.Option(metavar="SKU:PIECES", help="The same, of the lines with this SKU. Repeatable.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; the order's owner may read it.")] = "refunded by the shop",
    restock: Annotated[
        bool, typer.Option("--restock", help="The goods come back into stock too: those lines, or all that is left.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask whether that is meant.")] = False,
    key: repeating.Given = None,
    json_: Json = False,
) -> None:
    """Give money back: an amount, the price of some pieces, or all that is left.

    The worker has it paid. Each call is a refund of its own, unless it has the key of another, which it tells on stderr.
    """
    import json

    from orderkit import money
    from orderkit.errors import Invalid
    from orderkit.settings import load_settings

    check_reason(reason)
    known = repeating.Key(key)
    lines = _lines(line or [], sku or [])
    if lines and amount is not None:
        raise Invalid("name an amount or pieces, not both")
    settings = load_settings()
    with opened_database(settings) as database:
        order_id = _named(database, order)
        require_meant(yes, f"Refund {_told(amount, lines)} of order {order}?", "this pays money back")
        given = _refunded(database, settings, known, order_id, amount, lines, reason, restock=restock)
    if given.replayed:
        typer.echo("this key has made a refund before; nothing more is paid back", err=True)
    made = json.loads(given.answer.body)
    if json_:
        printing.as_json(made)
        return
    back = money.to_text(made["amount"], made["currency"])
    typer.echo(f"refund {made['id']} of order {order}: {back} is on its way; the worker has it paid within moments")


def _refunded(
    database: Database,
    settings: Settings,
    key: repeating.Key,
    order_id: UUID,
    amount: int | None,
    lines: list[AskedLine],
    reason: str,
    *,
    restock: bool,
) -> Replay:
    """Asks for a refund under the key, or finds what the key asked for before; the answer is what `--json` prints."""
    import json
    from dataclasses import asdict

    from orderkit.idempotency import Answer, fingerprint
    from orderkit.ids import new_id
    from orderkit.orders import refund_requests
    from orderkit.orders.refund_requests import RequestRefund
    from orderkit.orders.refunds import OrderRefund

    asked = {"amount": amount, "lines": [asdict(one) for one in lines], "reason": reason, "restock": restock}

    def answer(made: OrderRefund) -> Answer:
        key.tell()  # all is decided, and nothing is committed yet
        told = asdict(made) | {"lines": [one._asdict() for one in made.lines]}
        return Answer(201, json.dumps(told, default=str, ensure_ascii=False))

    wanted = RequestRefund(
        refund_id=new_id(),
        order_id=order_id,
        user_id=None,
        idempotency_key=key.text,
        fingerprint=fingerprint("orders refund", str(order_id), asked),
        reason=reason,
        amount=amount,
        lines=tuple(lines) or None,
        restock=restock,
        request_id=acting().source,
    )
    return refund_requests.carry_out(database, settings, wanted, answer)


def _lines(by_number: list[str], by_sku: list[str]) -> list[AskedLine]:
    """Raises Invalid for what does not say how many pieces of what."""
    from orderkit.orders.refund_lines import AskedLine

    numbered = [_pieces(one, "--line", "1:2") for one in by_number]
    if odd := [name for name, _ in numbered if not _is_number(name)]:
        raise typer.BadParameter(f"{odd[0]} is not the number of a line; a SKU goes in --sku", param_hint="--line")
    named = [_pieces(one, "--sku", "TEA-001:2") for one in by_sku]
    return [
        *(AskedLine(pieces, line=int(name)) for name, pieces in numbered),
        *(AskedLine(pieces, sku=name) for name, pieces in named),
    ]


def _pieces(text: str, option: str, example: str) -> tuple[str, int]:
    """What is named before the last colon, and the pieces of it."""
    name, _, pieces = text.rpartition(":")
    if not name or not _is_number(pieces) or not 1 <= int(pieces) <= MAX_PIECES:
        raise typer.BadParameter(f"{text} does not say how many pieces of what, as {example} does", param_hint=option)
    return name, int(pieces)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


def _told(amount: int | None, lines: list[AskedLine]) -> str:
    if amount is not None:
        return f"{amount} in minor units"
    pieces = [f"{one.quantity} of {one.sku or f'line {one.line}'}" for one in lines]
    return ", ".join(pieces) or "all that is left"


def _named(database: Database, order: str) -> UUID:
    """The id of the order with this number or id. Raises Invalid for what is neither, NotFound where there is none."""
    with database.reading() as session:
        return order_naming.id_of(session.connection(), order)
