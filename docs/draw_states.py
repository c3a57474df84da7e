"""Draws the state diagrams of docs/journey.md from the transition tables: python docs/draw_states.py

Each diagram stands between `<!-- states: NAME -->` and `<!-- end of states -->`. A test compares the page with the tables.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from orderkit.fulfillment.models import TRANSITIONS as FULFILLMENT
from orderkit.fulfillment.models import FulfillmentStatus
from orderkit.orders.states import TRANSITIONS as ORDER
from orderkit.orders.states import OrderStatus

PAGE = Path(__file__).parent / "journey.md"
Transitions = Mapping[Any, Collection[Any]]
TABLES: Mapping[str, tuple[Transitions, Any]] = {
    "order": (ORDER, OrderStatus.PENDING),
    "fulfillment": (FULFILLMENT, FulfillmentStatus.QUEUED),
}
"""What each diagram is drawn from, and the state that everything begins in."""

_DIAGRAM = re.compile(r"(<!-- states: (\w+) -->\n).*?(<!-- end of states -->)", re.DOTALL)


def diagram(transitions: Transitions, first: Any) -> str:
    """A Mermaid state diagram, states in the order of their definition."""
    order = list(type(first).__members__.values())
    lines = ["```mermaid", "stateDiagram-v2", "    direction LR", f"    [*] --> {first}"]
    for state in order:
        reached = sorted(transitions[state], key=order.index)
        lines += [f"    {state} --> {target}" for target in reached or ["[*]"]]
    return "\n".join([*lines, "```", ""])


def drawn(page: str) -> str:
    """The page with its diagrams drawn anew. Raises KeyError for a diagram that has no table."""
    return _DIAGRAM.sub(lambda found: found[1] + diagram(*TABLES[found[2]]) + found[3], page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
