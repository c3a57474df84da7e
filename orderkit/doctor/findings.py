"""What is found of one thing: how it is, and what to do."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple


class Verdict(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    """It works, and seldom should be so."""
    WRONG = "wrong"
    """It does not work, or loses something."""
    UNKNOWN = "not checked"
    """It could not be looked at for something else that is wrong."""


class Finding(NamedTuple):
    """`found` is how it is, in a few words; `remedy` what to do, empty where nothing is to be done. Neither has a secret."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


def fine(check: str, found: str) -> Finding:
    return Finding(check, Verdict.FINE, found)


def warning(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WARNING, found, remedy)


def wrong(check: str, found: str, remedy: str) -> Finding:
    return Finding(check, Verdict.WRONG, found, remedy)


def unknown(check: str, because: str) -> Finding:
    return Finding(check, Verdict.UNKNOWN, because)
