"""What states there are, and what leads from one to another: from the tables that the code goes by."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orderkit.fulfillment.models import TRANSITIONS as FULFILLMENT
from orderkit.fulfillment.models import FulfillmentStatus as Fulfillment
from orderkit.orders.states import TRANSITIONS as ORDER
from orderkit.orders.states import OrderStatus as Order
from orderkit.payments.models import PAYMENT_TRANSITIONS, REFUND_TRANSITIONS
from orderkit.payments.models import PaymentStatus as Payment
from orderkit.payments.models import RefundStatus as Refund
from orderkit.print_pack.diagrams.drawing import WIDTH, Box, laid_out, moved, rect, svg, text


@dataclass(frozen=True, slots=True)
class Machine:
    """The states of one kind of row. `causes` says in a few words what each transition comes of."""

    transitions: Mapping[Any, Collection[Any]]
    begins: Sequence[StrEnum]
    causes: Mapping[tuple[StrEnum, StrEnum], str]

    @property
    def states(self) -> list[StrEnum]:
        """In the order of their definition."""
        return list(type(self.begins[0]).__members__.values())

    def arrows(self) -> Iterator[tuple[StrEnum, StrEnum]]:
        """Every transition, from what to what, in the order of the states."""
        for state in self.states:
            yield from ((state, reached) for reached in self.states if reached in self.transitions[state])


_ROWS = (("order", "refund"), ("fulfillment", "payment"))
MACHINES: Mapping[str, Machine] = {
    "order": Machine(
        ORDER,
        (Order.PENDING,),
        {
            (Order.PENDING, Order.PAID): "captured",
            (Order.PENDING, Order.PAYMENT_FAILED): "declined or voided",
            (Order.PENDING, Order.CANCELLED): "cancelled",
            (Order.PAID, Order.SHIPPED): "carrier booked",
            (Order.PAID, Order.CANCELLED): "cancelled",
            (Order.PAID, Order.REFUNDED): "all paid back",
            (Order.SHIPPED, Order.DELIVERED): "carrier says so",
            (Order.SHIPPED, Order.REFUNDED): "all paid back",
            (Order.DELIVERED, Order.REFUNDED): "all paid back",
        },
    ),
    "payment": Machine(
        PAYMENT_TRANSITIONS,
        (Payment.CREATED, Payment.IMPORTED),
        {
            (Payment.CREATED, Payment.CAPTURED): "taken",
            (Payment.CREATED, Payment.DECLINED): "refused",
            (Payment.CREATED, Payment.UNKNOWN): "no answer",
            (Payment.CREATED, Payment.VOIDED): "voided",
            (Payment.UNKNOWN, Payment.CAPTURED): "taken",
            (Payment.UNKNOWN, Payment.DECLINED): "refused",
            (Payment.UNKNOWN, Payment.VOIDED): "voided",
        },
    ),
    "refund": Machine(
        REFUND_TRANSITIONS,
        (Refund.PENDING,),
        {
            (Refund.PENDING, Refund.SUCCEEDED): "paid back",
            (Refund.PENDING, Refund.FAILED): "refused",
            (Refund.FAILED, Refund.SUCCEEDED): "paid after all",
        },
    ),
    "fulfillment": Machine(
        FULFILLMENT,
        (Fulfillment.QUEUED,),
        {
            (Fulfillment.QUEUED, Fulfillment.RUNNING): "claimed",
            (Fulfillment.QUEUED, Fulfillment.CANCELLED): "stopped",
            (Fulfillment.RUNNING, Fulfillment.RETRYING): "failed",
            (Fulfillment.RUNNING, Fulfillment.SUCCEEDED): "booked",
            (Fulfillment.RUNNING, Fulfillment.DEAD): "given up",
            (Fulfillment.RUNNING, Fulfillment.CANCELLED): "stopped",
            (Fulfillment.RETRYING, Fulfillment.RUNNING): "due again",
            (Fulfillment.RETRYING, Fulfillment.CANCELLED): "stopped",
            (Fulfillment.DEAD, Fulfillment.QUEUED): "retried",
            (Fulfillment.DEAD, Fulfillment.DISCARDED): "discarded",
        },
    ),
}


def mermaid(machine: Machine) -> str:
    """A Mermaid state diagram, as a fenced block of Markdown."""
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR"]
    lines += [f"    [*] --> {state}" for state in machine.begins]
    for state in machine.states:
        reached = [str(target) for origin, target in machine.arrows() if origin == state]
        lines += [f"    {state} --> {target}" for target in reached or ["[*]"]]
    return "\n".join([*lines, "```", ""])


def draw() -> str:
    """All machines, two beside each other, as SVG. A double frame is an end: nothing leads out of it."""
    body, y = "", 0.0
    for pair in _ROWS:
        drawn = [laid_out(_dot(name, MACHINES[name]), {}) for name in pair]
        heights = [height for _width, height, _body in drawn]
        x = 0.0
        for name, (_width, _height, machine) in zip(pair, drawn, strict=True):
            body += text(x + 3, y + 10, name, size=11, bold=True) + moved(x, y + 16, machine)
            x = WIDTH - drawn[-1][0]
        y += max(heights) + 30
    body += _legend(WIDTH - 112, 200)
    return svg(WIDTH, round(y - 12), "States of orders, payments, refunds and fulfillments", body)


def _legend(x: float, y: float) -> str:
    drawn = f'<circle cx="{x + 12:g}" cy="{y:g}" r="3.2"/>\n' + text(x + 30, y + 2.5, "begins", size=8)
    drawn += rect(Box(x + 1, y + 10, 22, 12), corner=4) + rect(Box(x + 4, y + 13, 16, 6), corner=2)
    return drawn + text(x + 30, y + 19, "nothing leads out", size=8)


def _dot(name: str, machine: Machine) -> str:
    lines = [
        "digraph { rankdir=TB nodesep=0.1 ranksep=0.3 pad=0.03 margin=0",
        "node [shape=box style=rounded fontname=Courier fontsize=7.5 height=0.24 width=0.5 margin=0.06]",
        "edge [fontname=Times fontsize=8 arrowsize=0.55 penwidth=0.8]",
    ]
    for state in machine.states:
        lines.append(f'"{state}" [peripheries={1 if machine.transitions[state] else 2}]')
    for state in machine.begins:
        lines.append(
            f'"to {state}" [shape=circle style=filled fillcolor=black label="" width=0.09 height=0.09 fixedsize=true]'
        )
        lines.append(f'"to {state}" -> "{state}"')
    for origin, reached in machine.arrows():
        lines.append(f'"{origin}" -> "{reached}" [label=" {machine.causes[origin, reached]} "]')
    return "\n".join([*lines, "}"])
