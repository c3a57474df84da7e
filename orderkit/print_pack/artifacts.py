"""What the pack holds: which file is which page, whether it is meant to fit one sheet of A4, and which evidence it shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Artifact:
    """A Markdown file of the built pack. `file` is also its template's name, without `.j2`."""

    file: str
    title: str
    needs: tuple[str, ...]
    one_page: bool = True


ARTIFACTS: tuple[Artifact, ...] = (
    Artifact("README.md", "orderkit on one page", ("versions", "coverage", "load")),
    Artifact("acceptance.md", "Acceptance", ("checks",)),
    Artifact("architecture/diagrams.md", "Diagrams", ("models",), one_page=False),
    Artifact("architecture/schema.md", "Schema and indexes", ("models", "plans"), one_page=False),
    Artifact("api-contracts.md", "API contracts", ("openapi",)),
    Artifact("endpoints.md", "Endpoints", ("openapi",)),
    Artifact("decisions-and-tradeoffs.md", "Decisions and trade-offs", ()),
    Artifact("tests/coverage-summary.md", "Tests and coverage", ("coverage",)),
    Artifact("tests/load-report.md", "Load", ("load", "overload", "reports", "seeding")),
    Artifact("tests/fault-report.md", "Faults", ("faults",)),
    Artifact("observability/checklist.md", "Observability", ("checks",)),
    Artifact(
        "interview-brief.md",
        "Interview brief",
        ("demo", "coverage", "load", "reports", "seeding", "checks"),
        one_page=False,
    ),
    Artifact("tracker.md", "Execution tracker", ("checks",), one_page=False),
    Artifact("material-notes.md", "Material notes", ("versions",), one_page=False),
    Artifact("where-is-it.md", "Where is it", ("checks",)),
    Artifact("runbook.md", "Runbook", ("commands",), one_page=False),
)
"""In the order of the PDF; the decisions come between `decisions-and-tradeoffs.md` and what follows, one page each."""
