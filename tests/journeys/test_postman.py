"""docs/postman.json: it is made of the document, and its journey goes through on a running installation."""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orderkit.app import create_app
from orderkit.auth import accounts
from orderkit.auth.models import ADMIN
from orderkit.cli import postman, postman_journey
from orderkit.db import Database
from orderkit.settings import Settings
from tests.factories import PASSWORD
from tests.postman import Runner
from tests.processes import Processes

FILE = Path(__file__).resolve().parents[2] / "docs" / "postman.json"
EMAIL = "admin@example.com"


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(_env_file=None)).openapi()


@pytest.fixture(scope="module")
def committed() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def folders(collection: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {one["name"]: one["item"] for one in collection["item"]}


@pytest.mark.unit
def test_the_committed_collection_is_made_of_the_document(document: dict[str, Any], committed: dict[str, Any]) -> None:
    assert committed == postman.collection(document), "run: orderkit openapi --postman -o docs/postman.json"


@pytest.mark.unit
def test_every_operation_is_in_the_folder_of_its_resource_once(
    document: dict[str, Any], committed: dict[str, Any]
) -> None:
    found = Counter(
        (folder, item["request"]["method"], item["request"]["url"]["raw"])
        for folder, items in folders(committed).items()
        if folder != postman_journey.NAME
        for item in items
    )
    wanted = Counter(
        (tag, method.upper(), "{{baseUrl}}" + re.sub(r"{(\w+)}", r":\1", path))
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for tag in operation["tags"]
    )
    assert found == wanted
    assert set(wanted.values()) == {1}


@pytest.mark.unit
def test_every_variable_that_is_used_is_declared_and_every_declared_one_is_used(committed: dict[str, Any]) -> None:
    declared = {one["key"] for one in committed["variable"]}
    text = json.dumps(committed["item"]) + json.dumps(committed["auth"])
    used = set(re.findall(r"{{(\w+)}}", text)) | set(re.findall(r'collectionVariables\.get\(\\"(\w+)\\"', text))
    kept = set(re.findall(r'collectionVariables\.set\(\\"(\w+)\\"', text))
    assert used | kept == declared
    assert used >= declared - {"tries"}


@pytest.mark.unit
def test_what_must_not_be_done_twice_gets_a_fresh_key_each_time(committed: dict[str, Any]) -> None:
    keyed = [
        header
        for folder, items in folders(committed).items()
        if folder != postman_journey.NAME
        for item in items
        for header in item["request"]["header"]
        if header["key"] == "Idempotency-Key"
    ]
    assert [one["value"] for one in keyed] == ["{{$guid}}"] * 3


def start(processes: Processes, database: Database, collection: dict[str, Any]) -> Runner:
    """An installation with an admin, and someone to send the requests to it."""
    accounts.create(database, EMAIL, "Admin", PASSWORD, ADMIN)
    processes.start("worker").wait_for("the worker is up")
    address = processes.start("serve", "--port", "0").address()
    return Runner(collection, {"baseUrl": address, "adminEmail": EMAIL, "adminPassword": PASSWORD})


def test_the_whole_journey_goes_through_and_can_be_repeated(
    processes: Processes, database: Database, committed: dict[str, Any]
) -> None:
    runner = start(processes, database, committed)
    for _ in range(2):
        runner.run(postman_journey.NAME)
        assert [one for one in runner.tested if one.failed] == []
    steps = [item["name"] for item in folders(committed)[postman_journey.NAME]]
    assert list(dict.fromkeys(one.request for one in runner.tested)) == steps
    assert len(runner.tested) >= 2 * 65
    assert len(runner.sent) >= 2 * len(steps)


def test_a_journey_whose_answers_are_others_fails(
    processes: Processes, database: Database, committed: dict[str, Any]
) -> None:
    """So that nobody has to believe in a runner that finds everything good."""
    broken = copy.deepcopy(committed)
    items = folders(broken)[postman_journey.NAME]
    del items[5:]
    items[3]["request"]["body"]["raw"] = items[3]["request"]["body"]["raw"].replace("{{password}}", "short")
    runner = start(processes, database, broken)
    runner.run(postman_journey.NAME)
    failed = {one.request: one.failed or "" for one in runner.tested if one.failed}
    assert set(failed) == {items[3]["name"], items[4]["name"]}
    assert {(one.test, one.failed is None) for one in runner.tested if one.request == items[3]["name"]} == {
        ("answers 201", False),
        ("the script runs", False),  # it keeps the id that it was not told
    }
