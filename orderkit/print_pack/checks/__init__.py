"""Checks: what the pages of the pack claim of the software, the programs that look whether it is so, and the lists they tick."""

from __future__ import annotations

from typing import Any

from orderkit.print_pack.checks import places, weeks
from orderkit.print_pack.checks.acceptance import ACCEPTANCE
from orderkit.print_pack.checks.observability import OBSERVABILITY
from orderkit.print_pack.checks.places import PLACES
from orderkit.print_pack.checks.table import CHECKS
from orderkit.print_pack.checks.tracker import TRACKER

__all__ = ["ACCEPTANCE", "CHECKS", "OBSERVABILITY", "PLACES", "TRACKER", "context"]


def context() -> dict[str, Any]:
    """What the templates of the lists know besides evidence. The same whenever the code is the same."""
    return {
        "tracker": TRACKER,
        "acceptance": ACCEPTANCE,
        "observability": OBSERVABILITY,
        "places": PLACES,
        "tree": places.tree(),
        "modules": places.modules(),
        "weeks": weeks,
    }
