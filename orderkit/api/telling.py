"""What rows of the story of an order mean, in sentences that a support person can read aloud."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from orderkit import money
from orderkit.auth.audit_log import COMMAND_LINE
from orderkit.fulfillment import delivery
from orderkit.fulfillment.models import FulfillmentStatus
from orderkit.orders import settlement
from orderkit.orders.snapshot import OrderSnapshot
from orderkit.orders.states import OrderStatus
from orderkit.payments.models import RefundStatus


class Told(NamedTuple):
    """An item of the story. `detail` holds primitives, ids and times; `actor` is an ActorAnswer."""

    kind: str
    what: str
    detail: dict[str, Any]
    actor: dict[str, Any]


NOBODY = {"kind": "orderkit"}


def is_typed(source: str | None) -> bool:
    """Whether the request that a row names was none, but the command line."""
    return source is not None and source.startswith(f"{COMMAND_LINE} (")


@dataclass(frozen=True, slots=True)
class Teller:
    """Whose story it is, and for whom: `names` of staff are known, and told, only `to_staff`.

    Of refunds, by id: `typed` has the source of those that the command line asked for, `pieces` what they are for.
    """

    order: OrderSnapshot
    names: dict[UUID, str]
    to_staff: bool
    typed: Mapping[UUID, str] = field(default_factory=dict)
    pieces: Mapping[UUID, Sequence[tuple[int, int]]] = field(default_factory=dict)

    def actor(self, user_id: UUID | None, source: str | None = None) -> dict[str, Any]:
        if user_id is None:
            if not is_typed(source):
                return NOBODY
            return {"kind": "staff"} | ({"name": source} if self.to_staff else {})
        if user_id == self.order.user_id:
            return {"kind": "customer"}
        staff: dict[str, Any] = {"kind": "staff"}
        return staff | {"id": str(user_id), "name": self.names.get(user_id)} if self.to_staff else staff

    def by(self, user_id: UUID | None, source: str | None = None) -> str:
        actor = self.actor(user_id, source)
        if actor is NOBODY:
            return ""
        if actor["kind"] == "customer":
            return " by the customer"
        name = actor.get("name")
        if user_id is None and name:
            return f" on the {name}"
        return f" by {name} (staff)" if name else " by staff"


BECAME = {
    OrderStatus.PENDING: "The order was placed",
    OrderStatus.PAID: "The order was paid",
    OrderStatus.PAYMENT_FAILED: "The payment failed",
    OrderStatus.SHIPPED: "The order was shipped",
    OrderStatus.DELIVERED: "The order was delivered",
    OrderStatus.CANCELLED: "The order was cancelled",
    OrderStatus.REFUNDED: "The order was refunded in full",
}
"""What it means that an order came to a status."""

BY_HAND = "by hand"
SAID_ALREADY = {
    OrderStatus.PENDING: {"placed"},
    OrderStatus.PAID: {"payment captured"},
    OrderStatus.SHIPPED: {BY_HAND},
    OrderStatus.DELIVERED: {delivery.REASON, BY_HAND},
}
"""Reasons that add nothing to the sentence of a status, or are part of it. Only where orderkit alone gives the reason: whoever
cancels or refunds may write these words too, and is to be quoted.
"""


def change(row: Any, teller: Teller) -> Told:
    """A row of order_history."""
    detail = {
        "from": row.from_status,
        "to": row.to_status,
        "version": row.version,
        "reason": row.reason,
        "request_id": None if is_typed(row.request_id) else row.request_id,
    }
    by, actor = teller.by(row.actor_id, row.request_id), teller.actor(row.actor_id, row.request_id)
    if row.from_status == row.to_status and row.reason == settlement.CAPTURED_LATE:
        return Told("payment", _sentence("The payment came after the order was cancelled", None), detail, actor)
    if row.from_status == row.to_status:
        return Told("edit", _sentence(f"The order was edited{by}", row.reason), detail, actor)
    if row.from_status is None and row.to_status != OrderStatus.PENDING:
        what = f"The order was brought in from elsewhere as {row.to_status.replace('_', ' ')}"
        return Told("status", _sentence(what, row.reason), detail, actor)
    status = OrderStatus(row.to_status)
    known = row.reason in SAID_ALREADY.get(status, ())
    hand = (", by hand," if by else ", by hand") if known and row.reason == BY_HAND else ""
    what, reason = BECAME[status], None if known else row.reason
    return Told("status", _sentence(f"{what}{hand}{by}", reason), detail, actor)


CALLS = {
    ("charge", "captured"): "The payment provider took the money",
    ("charge", "declined"): "The payment provider declined the charge",
    ("charge", "unknown"): "The payment provider was asked for the money and gave no answer",
    ("void", "voided"): "The payment provider voided the payment",
    ("void", "captured"): "The payment provider was to void the payment, and had taken the money already",
    ("void", "unknown"): "The payment provider was asked to void the payment and gave no answer",
    ("refund", "refunded"): "The payment provider paid the refund",
    ("refund", "refused"): "The payment provider refused to pay the refund",
    ("refund", "unknown"): "The payment provider was asked to pay the refund and gave no answer",
}


def payment_attempt(row: Any, _teller: Teller) -> Told:
    what = CALLS.get((row.operation, row.outcome), f"The payment provider was asked to {row.operation}: {row.outcome}")
    detail = {
        "operation": row.operation,
        "number": row.number,
        "outcome": row.outcome,
        "said": row.detail,
        "duration_ms": row.duration_ms,
    }
    return Told("payment_attempt", _sentence(what, row.detail), detail, NOBODY)


def refund_asked(row: Any, teller: Teller) -> Told:
    source = teller.typed.get(row.id)
    lines = [
        {"line": line, "sku": teller.order.lines[line - 1].sku, "quantity": quantity}
        for line, quantity in teller.pieces.get(row.id, ())
    ]
    detail = {
        "refund_id": row.id,
        "amount": row.amount,
        "currency": row.currency,
        "reason": row.reason,
        "status": "pending",
        "lines": lines,
        "restock": row.restock,
    }
    pieces = ", ".join(f"{one['quantity']} of {one['sku']}" for one in lines)
    back = ", to come back into stock," if row.restock else ""
    what = f"A refund of {money.to_text(row.amount, row.currency)}{' for ' * bool(pieces)}{pieces}{back}"
    what += f" was asked for{teller.by(row.actor_id, source)}"
    return Told("refund", _sentence(what, row.reason), detail, teller.actor(row.actor_id, source))


def refund_settled(row: Any, teller: Teller) -> Told:
    detail = {"refund_id": row.id, "amount": row.amount, "currency": row.currency, "status": row.status}
    went = "was paid" if row.status == RefundStatus.SUCCEEDED else "failed"
    what = f"The refund of {money.to_text(row.amount, row.currency)} {went}."
    owed = teller.order.owed
    if row.status == RefundStatus.FAILED and owed:
        what += (
            f" {money.to_text(owed, row.currency)} of this cancelled order is owed, and no refund of it is under way."
        )
        detail["owed"] = owed
    return Told("refund", what, detail, NOBODY)


def fulfillment(row: Any, _teller: Teller) -> Told:
    detail = {"fulfillment_id": row.id, "status": row.status, "tracking_number": row.tracking_number}
    unneeded = row.status == FulfillmentStatus.CANCELLED and row.created_at == row.updated_at  # made so, by `by_hand`
    what = "No carrier was asked to take the parcel." if unneeded else "The parcel was put in the queue to be booked."
    return Told("fulfillment", what, detail, NOBODY)


BOOKINGS = {
    "booked": "The carrier took the parcel",
    "failed": "The carrier did not answer, or failed",
    "rejected": "The carrier rejected the parcel",
    "recalled": "The carrier forgot the parcel, as it was told",
    "abandoned": "A booking was begun and never ended",
}


def fulfillment_attempt(row: Any, _teller: Teller) -> Told:
    detail = {"outcome": row.outcome, "said": row.detail, "duration_ms": row.duration_ms}
    what = BOOKINGS.get(row.outcome, f"The carrier was asked: {row.outcome}")
    return Told("fulfillment_attempt", _sentence(what, row.detail), detail, NOBODY)


def delivered(row: Any, _teller: Teller) -> Told:
    detail = {"fulfillment_id": row.id, "tracking_number": row.tracking_number}
    return Told("delivery", "The carrier reported that the parcel was delivered.", detail, NOBODY)


def letter_opened(row: Any, _teller: Teller) -> Told:
    detail = {"dead_letter_id": row.id, "reason": row.reason, "attempts": row.attempts}
    tries = "1 attempt" if row.attempts == 1 else f"{row.attempts} attempts"
    return Told("dead_letter", _sentence(f"Shipping was given up after {tries}", row.reason), detail, NOBODY)


RESOLVED = {
    "retried": "Somebody had the parcel queued again.",
    "discarded": "The parcel that was given up was discarded.",
}


def letter_closed(row: Any, _teller: Teller) -> Told:
    detail = {"dead_letter_id": row.id, "resolution": row.resolution}
    return Told("dead_letter", RESOLVED[row.resolution], detail, NOBODY)


def _sentence(what: str, why: str | None) -> str:
    text = f"{what}: {why}" if why else what
    return text if text.endswith((".", "!", "?", "…")) else f"{text}."
