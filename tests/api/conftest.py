"""The API, in process, on either engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orderkit.auth.models import ADMIN, User
from orderkit.db import Database
from orderkit.settings import Settings
from tests.client import Client, running
from tests.factories import PASSWORD, make_user


@pytest.fixture
def api(settings: Settings, database: Database) -> Iterator[Client]:
    with running(settings) as client:
        yield client


@pytest.fixture
def admin(database: Database) -> User:
    return make_user(database, role=ADMIN, password=PASSWORD)


@pytest.fixture
def staff(api: Client, admin: User) -> dict[str, str]:
    """Headers of a request by an admin."""
    return api.token(admin)


@pytest.fixture
def customer(api: Client, database: Database) -> dict[str, str]:
    """Headers of a request by a customer."""
    return api.token(make_user(database, password=PASSWORD))
