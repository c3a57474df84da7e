"""Every check there is, by name."""

from __future__ import annotations

from orderkit.print_pack.checks import (
    of_access,
    of_database,
    of_foundation,
    of_observability,
    of_orders,
    of_pages,
    of_reports,
    of_tests,
    of_worker,
)
from orderkit.print_pack.checks.checking import Check

CHECKS: dict[str, Check] = {
    check.name: check
    for module in (
        of_foundation,
        of_database,
        of_access,
        of_orders,
        of_worker,
        of_reports,
        of_observability,
        of_tests,
        of_pages,
    )
    for check in module.CHECKS
}
"""In the order in which those that are alone are run."""
