"""One order's way through a running orderkit, from outside and with the standard library alone.

    SMOKE_STAFF_PASSWORD=… python .ci/smoke.py http://127.0.0.1:8000 staff@example.com

The staff account must exist already. Leaves behind one product, one user and one order. Exits 0 when the order was
paid once, replayed under its key and shipped by the worker; else 1, with what was answered instead.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

READY_WITHIN = 30.0
SHIPPED_WITHIN = 60.0


class Api:
    def __init__(self, base: str) -> None:
        self.base = base.rstrip("/")

    def call(
        self, method: str, path: str, *, body: Any = None, form: dict[str, str] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers (lower case) and parsed body; an HTTP error is an answer like any other."""
        data = None
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            data, sent["Content-Type"] = json.dumps(body).encode(), "application/json"
        if form is not None:
            data, sent["Content-Type"] = urllib.parse.urlencode(form).encode(), "application/x-www-form-urlencoded"
        request = urllib.request.Request(self.base + path, data=data, headers=sent, method=method)
        try:
            response = urllib.request.urlopen(request, timeout=10)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            text = response.read().decode()
            kind = response.headers.get_content_type()
            parsed = json.loads(text) if text and kind.endswith("json") else text
            return response.status, {name.lower(): value for name, value in response.headers.items()}, parsed

    def must(self, expected: int, method: str, path: str, **arguments: Any) -> tuple[dict[str, str], Any]:
        status, headers, body = self.call(method, path, **arguments)
        if status != expected:
            raise SystemExit(f"{method} {path}: expected {expected}, got {status}: {body}")
        print(f"{method} {path}: {status}")
        return headers, body

    def token(self, email: str, password: str) -> str:
        form = {"grant_type": "password", "username": email, "password": password}
        return f"Bearer {self.must(200, 'POST', '/token', form=form)[1]['access_token']}"


def expect(what: str, actual: object, expected: object) -> None:
    if actual != expected:
        raise SystemExit(f"{what}: expected {expected!r}, got {actual!r}")


def wait_until_ready(api: Api) -> None:
    deadline = time.monotonic() + READY_WITHIN
    while True:
        try:
            status, _, body = api.call("GET", "/health/ready")
        except OSError as error:  # not listening yet
            status, body = 0, str(error)
        if status == 200:
            return
        if time.monotonic() > deadline:
            raise SystemExit(f"not ready after {READY_WITHIN:.0f} s: {status} {body}")
        time.sleep(0.5)


def wait_until_shipped(api: Api, path: str, buyer: str) -> Any:
    deadline = time.monotonic() + SHIPPED_WITHIN
    while True:
        status, _, order = api.call("GET", path, Authorization=buyer)
        if status == 200 and order["status"] == "shipped":
            return order
        if time.monotonic() > deadline:
            raise SystemExit(f"not shipped after {SHIPPED_WITHIN:.0f} s: {status} {order}")
        time.sleep(0.25)


def main(base: str, staff_email: str) -> None:
    api = Api(base)
    wait_until_ready(api)
    api.must(200, "GET", "/health/live")

    run = secrets.token_hex(4)
    staff = api.token(staff_email, os.environ["SMOKE_STAFF_PASSWORD"])
    sku = f"SMOKE-{run}"
    product = {"sku": sku, "name": "Smoke test tea", "unit_price": 1999, "currency": "GBP", "stock": 5}
    api.must(201, "POST", "/products", body=product, Authorization=staff)

    email, password = f"buyer-{run}@example.com", secrets.token_urlsafe(18)
    api.must(201, "POST", "/register", body={"email": email, "password": password, "name": "Buyer"})
    buyer = api.token(email, password)

    body = {"items": [{"sku": sku, "quantity": 2}], "payment_method": "pm_card_visa", "expected_total": 3998}
    placing = {"body": body, "Authorization": buyer, "Idempotency_Key": f"smoke-{run}"}
    headers, order = api.must(201, "POST", "/orders", **placing)
    expect("status of a new order", order["status"], "paid")
    expect("total", (order["total"], order["currency"]), (3998, "GBP"))

    replay_headers, replay = api.must(201, "POST", "/orders", **placing)
    expect("the replayed order", replay["id"], order["id"])
    expect("Idempotent-Replayed", replay_headers.get("idempotent-replayed"), "true")
    expect("stock after both", api.must(200, "GET", f"/products/{sku}")[1]["stock"], 3)

    shipped = wait_until_shipped(api, urllib.parse.urlsplit(headers["location"]).path, buyer)
    expect("fulfillment", shipped["fulfillment"]["status"], "succeeded")
    print(f"order {order['id']}: paid once, replayed once, shipped as {shipped['fulfillment']['tracking_number']}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
