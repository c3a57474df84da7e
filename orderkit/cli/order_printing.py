"""An order and its story, as a person reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer

from orderkit.cli import printing


def show(order: dict[str, Any], story: Sequence[dict[str, Any]], refunded: Mapping[int, int]) -> None:
    """Prints the members of an OrderAnswer and of TimelineItems. `refunded` counts pieces by line."""
    from orderkit import money

    def amount(value: int) -> str:
        return money.to_text(value, order["currency"])

    payment, fulfillment = order["payment"], order["fulfillment"] or {}
    facts = {
        "order": order["number"],
        "id": order["id"],
        "status": order["status"],
        "placed": order["created_at"],
        "total": amount(order["total"]),
        "payment": payment["status"],
        "refunded": amount(payment["refunded"]) if payment["refunded"] else None,
        "parcel": fulfillment.get("status"),
        "tracking": fulfillment.get("tracking_number"),
        "address": ", ".join((order["shipping_address"] or {}).values()),
        "note": order["note"],
        "staff note": order["staff_note"],
        **{f"metadata {name}": text for name, text in (order["metadata"] or {}).items()},
        "version": order["version"],
    }
    width = max(map(len, facts)) + 2
    for name, value in facts.items():
        if value not in (None, ""):
            typer.echo(f"{name:{width}}{_one_line(str(value))}")
    typer.echo()
    columns = ["line", "quantity", "sku", "name", "each", "together"]
    rows = [
        [number, one["quantity"], one["sku"], one["name"], amount(one["unit_price"]), amount(one["line_total"])]
        for number, one in enumerate(order["items"], start=1)
    ]
    if refunded:
        columns.append("refunded")
        rows = [[*row, refunded.get(row[0], 0)] for row in rows]
    printing.table(columns, rows)
    typer.echo()
    printing.table(("when", "what happened"), [(one["at"][:19] + "Z", _one_line(one["what"])) for one in story])


def _one_line(text: str) -> str:
    """What customers wrote, without what would move a terminal's cursor or ring its bell."""
    return "".join(one if one.isprintable() else " " for one in text)
