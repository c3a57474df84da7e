"""The API, in process, on either engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Client, running


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Client]:
    with running(settings) as client:
        yield client
