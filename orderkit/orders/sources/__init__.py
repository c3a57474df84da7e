"""The files that past orders come in: one module for each format, each turning records into `SourceLine`s."""

from __future__ import annotations

from orderkit.orders.sources import online_retail, plain
from orderkit.orders.sources.lines import Format

FORMATS: dict[str, Format] = {one.name: one for one in (online_retail.FORMAT, plain.FORMAT)}
