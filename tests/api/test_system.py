"""How the installation is, as staff see it; and that a scrape tells it whatever hangs."""

from __future__ import annotations

import time

import pytest

from orderkit import migrating
from orderkit.db import Database
from orderkit.settings import Settings
from orderkit.system import state
from tests.client import Client
from tests.factories import make_user
from tests.shop import Shop


@pytest.mark.parametrize(("role", "status"), [("support", 200), ("operations", 200), ("analyst", 403)])
def test_staff_who_look_after_it_see_it(api: Client, database: Database, role: str, status: int) -> None:
    assert api.get("/admin/system", api.token(make_user(database, role=role))).status == status


def test_it_tells_what_waits_which_versions_run_and_how_this_process_stands(
    api: Client, database: Database, settings: Settings, staff: dict[str, str]
) -> None:
    Shop(database, settings).paid()
    told = api.get("/admin/system", staff).json()
    backlogs = {one.pop("kind"): one for one in told["backlogs"]}
    assert backlogs.keys() == state.KINDS.keys()
    assert backlogs["events"]["waiting"] == backlogs["events"]["due"] == 1
    assert 0 < backlogs["events"]["oldest_seconds"] < 60
    assert told["rollup_lag_seconds"] == backlogs["events"]["oldest_seconds"]
    assert told["fulfillments"] == {"queued": 0, "running": 0, "retrying": 0}
    versions = told["versions"]
    assert versions["schema_found"] == versions["schema_wanted"] == migrating.head()
    assert versions["database"].startswith("sqlite 3." if database.is_sqlite else "postgresql 1")
    assert told["providers"] == [
        {"role": "gateway", "name": "builtin", "breaker": "closed"},
        {"role": "carrier", "name": "builtin", "breaker": None},
    ]
    assert {one["name"] for one in told["pools"]} >= {"main", "system"}


def test_an_open_breaker_is_seen(api: Client, staff: dict[str, str]) -> None:
    for _ in range(api.runtime.settings.breaker_failures):
        api.runtime.breaker.failed()
    assert api.get("/admin/system", staff).json()["providers"][0]["breaker"] in ("open", "half_open")
    assert 'orderkit_breaker_open{breaker="gateway"} 1.0' in api.get("/metrics").body.decode()
    api.runtime.breaker.succeeded()
    assert 'orderkit_breaker_open{breaker="gateway"} 0.0' in api.get("/metrics").body.decode()


def test_a_database_that_does_not_say_in_time_is_503_and_a_scrape_is_answered(
    api: Client, staff: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orderkit.system.reader.WITHIN_S", 0.05)
    monkeypatch.setattr(state, "read", lambda _connection: time.sleep(0.3))
    assert api.get("/admin/system", staff).code == "unavailable"
    scrape = api.get("/metrics")
    assert scrape.status == 200
    assert "orderkit_database_up 0.0" in scrape.body.decode()
    assert "orderkit_http_requests_total" in scrape.body.decode()
