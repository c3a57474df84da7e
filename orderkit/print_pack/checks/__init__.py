"""Checks: what the pages of the pack claim of the software, and the programs that look whether it is so."""

from __future__ import annotations
