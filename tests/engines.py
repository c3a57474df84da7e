"""The engines that tests run on, and marks for those few that concern one of them only."""

from __future__ import annotations

import pytest

ENGINES = ("sqlite", "postgresql")

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)

decided_by_the_request = on_sqlite
"""For a table of requests that are refused for what is written in them, whatever is stored: an engine cannot matter to that.

That a refusal leaves nothing behind, and the right answers of the same routes, are seen on both in other tests.
"""
