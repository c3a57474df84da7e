"""What rows of the story of an order mean, in sentences that a support person can read aloud."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from orderkit import money
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


@dataclass(frozen=True, slots=True)
class Teller:
    """Whose story it is, and for whom: `names` of staff are known, and told, only `to_staff`."""

    order: OrderSnapshot
    names: dict[UUID, str]
    to_staff: bool

    def actor(self, user_id: UUID | None) -> dict[str, Any]:
        if user_id is None:
            return NOBODY
        if user_id == self.order.user_id:
            return {"kind": "customer"}
        staff: dict[str, Any] = {"kind": "staff"}
        return staff | {"id": str(user_id), "name": self.names.get(user_id)} if self.to_staff else staff

    def by(self, user_id: UUID | None) -> str:
        actor = self.actor(user_id)
        if actor is NOBODY:
            return ""
        if actor["kind"] == "customer":
            return " by the customer"
        name = actor.get("name")
        return f" by {name} of the staff" if name else " by staff"


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
        "request_id": row.request_id,
    }
    by, actor = teller.by(row.actor_id), teller.actor(row.actor_id)
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
    detail = {"refund_id": row.id, "amount": row.amount, "currency": row.currency, "reason": row.reason}
    what = f"A refund of {money.to_text(row.amount, row.currency)} was asked for{teller.by(row.actor_id)}"
    return Told("refund", _sentence(what, row.reason), detail | {"status": "pending"}, teller.actor(row.actor_id))


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
    what = "No carrier was to be asked." if unneeded else "The parcel was put in the queue to be booked."
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
