"""The small shop of the examples in the document of the API, as a real one: what they need to exist, and what it answers.

`python -m tests.examples` asks it each of them and writes the answers down, for the document to show.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from sqlmodel import col, select

from orderkit.api import access, examples
from orderkit.api.dependencies import ACCOUNT, ANYONE, SESSION
from orderkit.api.examples import requests, world
from orderkit.auth.mails import Mails
from orderkit.auth.models import ADMIN, AccountMail
from orderkit.auth.permissions import OWN_ORDERS
from orderkit.breaker import Breaker
from orderkit.db import Database
from orderkit.fulfillment import shipping
from orderkit.fulfillment.carriers import Booked, BookResult, Rejected
from orderkit.fulfillment.models import DeadLetter, Fulfillment
from orderkit.mail import open_mailer
from orderkit.migrating import migrate
from orderkit.settings import Settings
from orderkit.worker.relay import Relay
from tests import webhooks
from tests.client import Answer, Client, running
from tests.factories import make_product, make_user

FILE = Path(examples.__file__).with_name(examples.ANSWERS)
NOT_WRITTEN = ("GET /metrics",)
"""What they answer is another thing each time."""

FORM = "application/x-www-form-urlencoded"


class Asked(NamedTuple):
    """An operation of the document, and one of its examples; the one without a body has none."""

    operation: str
    status: int
    body: Any = None
    form: bool = False
    path: str = ""
    prefer: bool = False


def cases(openapi: Mapping[str, Any]) -> Iterator[tuple[str, Asked]]:
    """Every example of a request in the document, with a name of its own."""
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            name = f"{method.upper()} {path}"
            status = min(int(one) for one in operation["responses"])
            content = operation.get("requestBody", {}).get("content", {})
            if not content:
                yield name, Asked(name, status, path=path)
            for kind, one in content.items():
                for key, example in one["examples"].items():
                    yield f"{name} {key}", Asked(name, status, example["value"], kind == FORM, path)
            if any(one["name"] == "Prefer" for one in operation.get("parameters", ())):
                body = next(iter(content["application/json"]["examples"].values()))["value"]
                yield f"{name} Prefer", Asked(name, 202, body, False, path, prefer=True)


class World:
    """The shop, on an empty database. `ids` are those of the examples, each with the one that it has here."""

    def __init__(self, api: Client, database: Database, settings: Settings) -> None:
        self.api, self.database, self.settings = api, database, settings
        self.ada = make_user(database, email=world.EMAIL, name=world.NAME, password=world.PASSWORD)
        self.sam = make_user(database, email="sam@example.com", name=world.STAFF, role=ADMIN, password=world.PASSWORD)
        for number, name in ((1, world.PRODUCT), (2, "Black tea, 100 g")):
            make_product(database, sku=f"TEA-00{number}", name=name, unit_price=world.PRICE, stock=100)
        self.real = {world.CUSTOMER_ID: str(self.ada.id), world.STAFF_ID: str(self.sam.id)}
        self.secrets: dict[str, str] = {}
        self.who = {None: {}, "ada": api.token(self.ada), "sam": api.token(self.sam)}
        self._put_price()

    def _put_price(self) -> None:
        answer = self.api.run(
            self.api.call("PUT", f"/products/{world.SKU}/prices/EUR", {"unit_price": 2299}, headers=self.who["sam"])
        )
        assert answer.status == 200

    def order(self) -> None:
        """Ada orders two packets of tea and pays."""
        body = next(iter(requests.BODIES["POST /orders"].values()))
        answer = self.api.post("/orders", body, self.who["ada"] | {"Idempotency-Key": "first"})
        assert answer.status == 201
        self.real[world.ORDER_ID] = answer.json()["id"]
        self.real[world.PAYMENT_ID] = answer.json()["payment"]["id"]

    def queue(self) -> Fulfillment:
        self.order()
        relay = Relay(self.database)
        while relay.turn():
            pass
        with self.database.reading() as session:
            queued = session.exec(select(Fulfillment)).one()
        self.real[world.FULFILLMENT_ID] = str(queued.id)
        return queued

    def ship(self) -> None:
        queued = self.queue()
        self._book(queued, Booked(f"TR{queued.id.hex}"))
        relay = Relay(self.database)
        while relay.turn():
            pass

    def give_up(self) -> None:
        self._book(self.queue(), Rejected("address_not_served"))
        with self.database.reading() as session:
            self.real[world.LETTER_ID] = str(session.exec(select(DeadLetter)).one().id)

    def _book(self, queued: Fulfillment, result: BookResult) -> None:
        with self.database.transaction() as session:
            claim = shipping.claim(session.connection(), queued.id, settings=self.settings)
        assert claim is not None
        with self.database.transaction() as session:
            shipping.finish(session.connection(), claim, result, duration_ms=41, settings=self.settings)

    def refund(self) -> None:
        self.ship()
        body = next(iter(requests.BODIES["POST /orders/{order_id}/refunds"].values()))
        path = f"/orders/{self.real[world.ORDER_ID]}/refunds"
        answer = self.api.post(path, body, self.who["sam"] | {"Idempotency-Key": "refund"})
        assert answer.status == 201
        self.real[world.REFUND_ID] = answer.json()["id"]

    def log_in(self) -> None:
        answer = self.api.form("/token", {"username": world.EMAIL, "password": world.PASSWORD})
        self.secrets[world.REFRESH_TOKEN] = answer.json()["refresh_token"]
        listed = self.api.get("/users/me/sessions", self.who["ada"]).json()["items"]
        self.real[world.SESSION_ID] = next(one["id"] for one in listed if not one["current"])

    def make_key(self) -> None:
        body = next(iter(requests.BODIES["POST /users/me/api-keys"].values()))
        self.real[world.KEY_ID] = self.api.post("/users/me/api-keys", body, self.who["ada"]).json()["id"]

    def give_role(self) -> None:
        answer = self.api.patch(f"/users/{self.ada.id}", {"role": "support"}, self.who["sam"])
        assert answer.status == 200

    def ask_to_verify(self) -> None:
        assert self.api.post("/users/me/verification", headers=self.who["ada"]).status == 202
        self._take_link()

    def ask_to_reset(self) -> None:
        assert self.api.post("/password/forgot", {"email": world.EMAIL}).status == 202
        self._take_link()

    def _take_link(self) -> None:
        """Has the mail sent, as the worker does, and takes the token of the link in it."""
        mails = Mails(self.database, self.settings, open_mailer(self.settings), Breaker("mail"))
        try:
            with self.database.reading() as session:
                row = session.exec(select(AccountMail).order_by(col(AccountMail.id).desc())).first()
            assert row is not None
            asyncio.run(mails.send(row.id))
        finally:
            mails.close()
        [file] = (self.settings.home / "outbox").glob("*.eml")
        [link] = re.findall(r"https?://\S+", file.read_text().replace("=\n", "").replace("=3D", "="))
        self.secrets[world.LINK_TOKEN] = parse_qs(urlsplit(link).query)["token"][0]

    def needs(self, operation: str) -> Callable[[], object] | None:
        """What has to have happened before this example makes sense."""
        by_name = {
            "POST /orders/{order_id}/cancel": self.order,
            "DELETE /users/me/sessions/{session_id}": self.log_in,
            "GET /users/me/sessions": self.log_in,
            "POST /token/refresh": self.log_in,
            "POST /token/revoke": self.log_in,
            "GET /users/me/api-keys": self.make_key,
            "DELETE /users/me/api-keys/{key_id}": self.make_key,
            "POST /email/verify": self.ask_to_verify,
            "POST /password/reset": self.ask_to_reset,
            "GET /admin/audit-log": self.give_role,
            "POST /orders/{order_id}/refunds": self.ship,
            "GET /orders/{order_id}/refunds": self.refund,
            "GET /orders/{order_id}/refunds/{refund_id}": self.refund,
            "POST /webhooks/carrier": self.ship,
            "GET /orders": self.ship,
        }
        if operation in by_name:
            return by_name[operation]
        if "dead-letters" in operation:
            return self.give_up
        if "{order_id}" in operation or "/analytics/" in operation or "/admin/" in operation:
            return self.ship
        return None

    def caller(self, operation: str) -> str | None:
        """Who asks: nobody in particular, Ada for what is her own, Sam for the rest."""
        method, _, path = operation.partition(" ")
        [rule] = [one for one in access.rules(self.api.app) if (one.method, one.path) == (method, path)]
        if rule.who == ANYONE:
            return None
        return "ada" if rule.who in (ACCOUNT, SESSION, OWN_ORDERS) else "sam"

    def prepare(self, operation: str) -> None:
        act = self.needs(operation)
        if act is not None:
            act()

    def ask(self, asked: Asked, query: Mapping[str, Any] | None = None) -> Answer:
        """Sends the example as it is in the document, with this shop's own ids and secrets."""
        method, _, path = asked.operation.partition(" ")
        path = re.sub(r"{(\w+)}", lambda found: quote(str(requests.IN_PATHS[found[1]][1]), safe=""), path)
        if query:
            path += "?" + urlencode(
                {one: str(value).lower() if value is True else value for one, value in query.items()}
            )
        headers = self.who[self.caller(asked.operation)] | self._headers(asked.operation)
        if asked.prefer:
            headers |= {"Prefer": requests.IN_HEADERS["Prefer"]}
        body = asked.body
        if asked.form:
            body = self._real(urlencode(asked.body)).encode()
            headers |= {"Content-Type": FORM}
        elif body is not None:
            body = self._real(json.dumps(body)).encode()
            headers |= {"Content-Type": "application/json"}
        if "/webhooks/" in path:
            headers |= webhooks.signed(self.settings, body)
        return self.api.run(self.api.call(method, self._real(path), body, headers=headers))

    def _headers(self, operation: str) -> dict[str, str]:
        """Every example of a header that the document has for it, but of those that a signature is made of."""
        method, _, path = operation.partition(" ")
        listed = self.api.app.openapi()["paths"][path][method.lower()].get("parameters", ())
        return {
            one["name"]: one["example"]
            for one in listed
            if one["in"] == "header" and one["name"] != "Prefer" and not one["name"].startswith("webhook-")
        }

    def _real(self, text: str) -> str:
        for shown, found in (self.real | self.secrets).items():
            text = text.replace(shown, found)
        return text

    def shown(self, answer: Answer, operation: str) -> Any:
        """The answer as an example: with the ids, times and secrets of examples."""
        text = answer.body.decode()
        if not text or not answer.headers["content-type"].startswith("application/json"):
            return text or None
        for shown, found in (self.real | _made(operation, answer)).items():
            text = text.replace(found, shown).replace(found.replace("-", ""), shown.replace("-", ""))
        return _masked(json.loads(_times(_others(text))))


MADE = {
    "POST /orders": {"id": world.ORDER_ID, "payment.id": world.PAYMENT_ID},
    "POST /orders/{order_id}/refunds": {"id": world.REFUND_ID},
    "POST /users/me/api-keys": {"id": world.KEY_ID},
}
"""Ids that come with the answer itself."""


def _made(operation: str, answer: Answer) -> dict[str, str]:
    found: dict[str, str] = {}
    for place, shown in MADE.get(operation, {}).items():
        value: Any = answer.json()
        for step in place.split("."):
            value = value[step]
        found[shown] = value
    return found


OTHER_ID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z")
BEGINNING, STEP = datetime.fromisoformat(world.AT), timedelta(milliseconds=184)
KNOWN = {value for name, value in vars(world).items() if name.endswith("_ID")}
MASKS: dict[str, Any] = {
    "request_id": world.REQUEST_ID,
    "access_token": world.ACCESS_TOKEN,
    "refresh_token": world.REFRESH_TOKEN,
    "key": world.API_KEY,
    "prefix": world.API_KEY[:12],
    "duration_ms": 41,
    "provider_reference": "ch_01995d1e7c237f4eb1a70d2c6e8f4b19",
    "tracking_number": "TR01995d1e7e0c7a83bb4092c1d5e7f306",
    "date": world.AT[:10],
    "python": "3.13.1",
    "orderkit": "0.1.0",
    "schema_found": "0011",
    "schema_wanted": "0011",
    "oldest_seconds": 0.0,
    "overdue_seconds": 0.0,
    "rollup_lag_seconds": 0.0,
    "in_use": 0,
    "size": 8,
}
"""Members that are something else each time, or on each machine."""


def _others(text: str) -> str:
    """Ids that no example names, numbered in the order in which they come."""
    others = [one for one in dict.fromkeys(OTHER_ID.findall(text)) if one not in KNOWN]
    for number, found in enumerate(others, 1):
        text = text.replace(found, f"01995d1e-9000-7000-8000-{number:012d}")
    return text


def _times(text: str) -> str:
    """Times in the order that they have, as if all began at one moment; those far off stay as far off, by the day."""
    found = sorted({datetime.fromisoformat(one) for one in TIME.findall(text)})
    near = [one for one in found if abs(one - found[0]) < timedelta(hours=1)] if found else []

    def moved(match: re.Match[str]) -> str:
        at = datetime.fromisoformat(match.group())
        days = round((at - found[0]) / timedelta(days=1))
        then = BEGINNING + (near.index(at) * STEP if at in near else timedelta(days=days))
        return then.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    return TIME.sub(moved, text)


def _masked(value: Any) -> Any:
    if isinstance(value, dict):
        if {"number", "total"} <= value.keys():  # an order's; there is also the number of an attempt
            value = value | {"number": 1042}
        if {"database", "python"} <= value.keys():
            value = value | {"database": "sqlite 3.46.1"}
        return {
            name: MASKS[name] if name in MASKS and isinstance(member, type(MASKS[name])) else _masked(member)
            for name, member in value.items()
        }
    return [_masked(one) for one in value] if isinstance(value, list) else value


@contextmanager
def opened(settings: Settings, database: Database) -> Iterator[World]:
    with running(settings) as api:
        yield World(api, database, settings)


@contextmanager
def new_shop() -> Iterator[World]:
    """On a database of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(_env_file=None, database_url=f"sqlite:///{folder}/orderkit.db", home=Path(folder))
        database = Database(settings)
        migrate(database)
        with opened(settings, database) as shop:
            yield shop
        database.dispose()


def main() -> None:
    """Asks a new shop for each example and writes down what it answers."""
    written: dict[str, dict[str, Any]] = {}
    with new_shop() as shop:
        wanted = [one for _name, one in cases(shop.api.app.openapi()) if one.operation not in NOT_WRITTEN]
    for asked in wanted:
        if str(asked.status) in written.get(asked.operation, {}):
            continue  # the first of several
        with new_shop() as shop:
            shop.prepare(asked.operation)
            answer = shop.ask(asked)
            assert answer.status == asked.status, (asked, answer)
            shown = shop.shown(answer, asked.operation)
        if shown is not None:
            written.setdefault(asked.operation, {})[str(asked.status)] = shown
    FILE.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
