"""The engines that tests run on, and marks for those few that concern one of them only."""

from __future__ import annotations

import pytest

ENGINES = ("sqlite", "postgresql")

on_sqlite = pytest.mark.parametrize("engine_name", ["sqlite"], indirect=True)
on_postgresql = pytest.mark.parametrize("engine_name", ["postgresql"], indirect=True)
