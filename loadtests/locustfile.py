"""Customers who place orders, send some of them twice, and look at what they have ordered. For locust.

`python -m loadtests.report` runs it on a stack of its own. To point it elsewhere, at a server that is yours:

    LOAD_EMAIL=… LOAD_PASSWORD=… LOAD_SKUS=TEA-001,TEA-002 locust -f loadtests/locustfile.py --host http://127.0.0.1:8000

Every sku must be there in plenty: an answer other than the one that is right for plenty counts as a failure.
"""

from __future__ import annotations

import json
import os
import random
from collections import deque
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from uuid import uuid4

from locust import FastHttpUser, constant, events, task
from locust.env import Environment

EMAIL = os.environ.get("LOAD_EMAIL", "")
PASSWORD = os.environ.get("LOAD_PASSWORD", "")
SKUS = os.environ.get("LOAD_SKUS", "").split(",")
TALLY = os.environ.get("LOAD_TALLY")
REMEMBERED = 50
"""So many of their orders customers remember, to look at or send again."""

tally = {"placed": 0, "pieces": 0, "replayed": 0}
"""What the customers were told, for comparing with the database."""

_bearer: dict[str, str] = {}


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def log_in(environment: Environment, **_more: Any) -> None:
    """Once for all customers: logging in is slow on purpose, and throttled."""
    form = urlencode({"username": EMAIL, "password": PASSWORD}).encode()
    with urlopen(f"{environment.host}/token", form, timeout=30) as answer:
        _bearer["Authorization"] = f"Bearer {json.load(answer)['access_token']}"


class Customer(FastHttpUser):
    """Acts without a pause: the number of customers is the number of requests under way."""

    wait_time = constant(0)
    connection_timeout = network_timeout = 30.0

    def on_start(self) -> None:
        self.mine: deque[tuple[str, str, dict[str, Any]]] = deque(maxlen=REMEMBERED)

    @task(6)
    def place(self) -> None:
        skus = random.sample(SKUS, k=min(len(SKUS), random.randint(1, 3)))
        body = {"items": [{"sku": sku, "quantity": 1} for sku in skus], "payment_method": "pm_card_visa"}
        key = uuid4().hex
        with self._post(key, body, "/orders") as answer:
            if answer.status_code == 201 and "Idempotent-Replayed" not in answer.headers:
                tally["placed"] += 1
                tally["pieces"] += len(skus)
                self.mine.append((answer.json()["id"], key, body))
            else:
                answer.failure(f"a new order was answered {answer.status_code}")

    @task(1)
    def send_again(self) -> None:
        if not self.mine:
            return
        order_id, key, body = random.choice(self.mine)
        with self._post(key, body, "/orders (sent again)") as answer:
            if answer.status_code == 201 and answer.headers.get("Idempotent-Replayed") == "true":
                tally["replayed"] += 1
                if answer.json()["id"] != order_id:
                    answer.failure("a repeated key was answered with another order")
            else:
                answer.failure(f"a repeated key was answered {answer.status_code}")

    @task(4)
    def read(self) -> None:
        if not self.mine:
            return
        order_id, _key, _body = random.choice(self.mine)
        with self._get(f"/orders/{order_id}", "/orders/{id}") as answer:
            if answer.status_code != 200 or answer.json()["payment"]["status"] != "captured":
                answer.failure(f"a paid order was answered {answer.status_code}: {answer.text[:200]}")

    @task(1)
    def read_all(self) -> None:
        with self._get("/orders?limit=20", "/orders?limit=20") as answer:
            if answer.status_code != 200 or "items" not in answer.json():
                answer.failure(f"the list of orders was answered {answer.status_code}")

    @task(2)
    def browse(self) -> None:
        sku = random.choice(SKUS)
        with self._get(f"/products/{sku}", "/products/{sku}") as answer:
            if answer.status_code != 200 or answer.json()["sku"] != sku:
                answer.failure(f"a product was answered {answer.status_code}")

    def _post(self, key: str, body: dict[str, Any], name: str) -> Any:
        headers = _bearer | {"Idempotency-Key": key}
        return self.client.post("/orders", json=body, headers=headers, name=name, catch_response=True)

    def _get(self, path: str, name: str) -> Any:
        return self.client.get(path, headers=_bearer, name=name, catch_response=True)


@events.quitting.add_listener  # type: ignore[untyped-decorator]
def write_down(environment: Environment, **_more: Any) -> None:
    """Writes the tally and the figures of each route (milliseconds) where LOAD_TALLY says."""
    if TALLY is None:
        return
    routes = [
        {
            "method": one.method,
            "name": one.name,
            "requests": one.num_requests,
            "failures": one.num_failures,
            **{f"p{percent}": one.get_response_time_percentile(percent / 100) for percent in (50, 95, 99)},
        }
        for one in sorted(environment.stats.entries.values(), key=lambda one: (one.method, one.name))
    ]
    total = environment.stats.total
    seconds = max(0.001, (total.last_request_timestamp or 0) - (total.start_time or 0))
    errors = [f"{one.occurrences}× {one.method} {one.name}: {one.error}" for one in environment.stats.errors.values()]
    Path(TALLY).write_text(json.dumps({**tally, "seconds": seconds, "routes": routes, "errors": errors}))
