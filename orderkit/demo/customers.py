"""What customers and staff do, over HTTP like anybody else."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from orderkit import reasons
from orderkit.demo import script
from orderkit.demo.script import Ware, Wish
from orderkit.demo.story import Answer
from orderkit.errors import Unavailable

PASSWORD_BYTES = 12


@dataclass(frozen=True, slots=True)
class Login:
    email: str
    password: str


def new_login(name: str) -> Login:
    """An address that reaches nobody (RFC 2606) and a password made for this run."""
    return Login(f"{name}@demo.example", secrets.token_urlsafe(PASSWORD_BYTES))


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # by name in any case
    body: Any

    @property
    def code(self) -> str | None:
        """The stable code of a problem."""
        return self.body.get("code") if isinstance(self.body, dict) and self.status >= 400 else None


class Shop:
    """The API and the simulator as their callers see them. Needs `open` before anything else."""

    def __init__(self, http: aiohttp.ClientSession, api: str, simulator: str, staff: Login) -> None:
        self.api = api
        self.simulator = simulator
        self.staff = staff
        self.staff_token = ""
        self._http = http
        self._customers: list[str] = []

    async def ask(
        self,
        method: str,
        url: str,
        *,
        token: str | None = None,
        body: Any = None,
        form: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        give_up_after: float | None = None,
    ) -> Reply:
        """One request, one reply. Raises TimeoutError when given up, aiohttp.ClientError without an answer."""
        sent = dict(headers or {})
        if token:
            sent["Authorization"] = f"Bearer {token}"
        async with asyncio.timeout(give_up_after):
            async with self._http.request(method, url, json=body, data=form, headers=sent) as response:
                kind = response.content_type
                content = await (response.json(content_type=None) if kind.endswith("json") else response.text())
                return Reply(response.status, response.headers, content)

    async def must(self, status: int, method: str, url: str, **arguments: Any) -> Any:
        """The body of a reply that must have `status`; raises Unavailable for any other, or none."""
        return (await self._must(status, method, url, **arguments)).body

    async def _must(self, status: int, method: str, url: str, **arguments: Any) -> Reply:
        try:
            reply = await self.ask(method, url, **arguments)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unavailable(f"{method} {url} got no answer ({reasons.in_words(error)})") from None
        if reply.status != status:
            raise Unavailable(f"{method} {url} was answered {reply.status} instead of {status}: {reply.body}")
        return reply

    async def ready(self) -> bool:
        """Whether the API and the simulator both say they are."""
        try:
            api = await self.ask("GET", f"{self.api}/health/ready")
            simulator = await self.ask("GET", f"{self.simulator}/health")
        except (aiohttp.ClientError, TimeoutError):
            return False
        return api.status == simulator.status == 200

    async def open(self) -> None:
        """Staff logs in and fills the catalog; customers register and log in."""
        self.staff_token = await self._log_in(self.staff)
        for ware in script.CATALOG:
            await self._add(ware)
        for number in range(1, script.CUSTOMERS + 1):
            login = new_login(f"customer-{number}")
            account = {"email": login.email, "password": login.password, "name": f"Customer {number}"}
            await self.must(201, "POST", f"{self.api}/register", body=account)
            self._customers.append(await self._log_in(login))

    async def _log_in(self, login: Login) -> str:
        form = {"grant_type": "password", "username": login.email, "password": login.password}
        return str((await self.must(200, "POST", f"{self.api}/token", form=form))["access_token"])

    async def _add(self, ware: Ware) -> None:
        body = {
            "sku": ware.sku,
            "name": ware.name,
            "unit_price": ware.unit_price,
            "currency": ware.currency,
            "stock": ware.stock,
        }
        await self.must(201, "POST", f"{self.api}/products", body=body, token=self.staff_token)

    async def price(self, sku: str) -> int:
        """In minor units, as anybody sees it."""
        return int((await self.must(200, "GET", f"{self.api}/products/{sku}"))["unit_price"])

    async def reprice(self, sku: str, unit_price: int) -> None:
        await self.must(
            200, "PATCH", f"{self.api}/products/{sku}", body={"unit_price": unit_price}, token=self.staff_token
        )

    async def order(
        self,
        wish: Wish,
        *,
        give_up_after: float | None = None,
        expected_total: int | None = None,
        respond_async: bool = False,
    ) -> Answer:
        """Sends the wish, under its key. Raises as `ask`."""
        headers = {"Idempotency-Key": wish.key}
        if respond_async:
            headers["Prefer"] = "respond-async"
        body = wish.body if expected_total is None else {**wish.body, "expected_total": expected_total}
        reply = await self.ask(
            "POST",
            f"{self.api}/orders",
            token=self._customers[wish.customer],
            body=body,
            headers=headers,
            give_up_after=give_up_after,
        )
        order_id = reply.body.get("order_id" if reply.code else "id") if isinstance(reply.body, dict) else None
        return Answer(reply.status, reply.headers.get("Idempotent-Replayed") == "true", reply.code, order_id)

    async def look(self, wish: Wish, order_id: str) -> Any:
        """The order as its customer sees it."""
        return await self.must(200, "GET", f"{self.api}/orders/{order_id}", token=self._customers[wish.customer])

    async def cancel(self, wish: Wish, order_id: str) -> Any:
        """As its customer; the order as it is then."""
        url, token = f"{self.api}/orders/{order_id}/cancel", self._customers[wish.customer]
        return await self.must(200, "POST", url, token=token, body={"reason": "ordered by mistake"})

    async def refund(self, order_id: str, key: str, **what: Any) -> tuple[Any, bool]:
        """Asked for by staff, as told in `what`: the refund, and whether it was the answer to an earlier request."""
        url, headers = f"{self.api}/orders/{order_id}/refunds", {"Idempotency-Key": key}
        reply = await self._must(201, "POST", url, token=self.staff_token, body=what, headers=headers)
        return reply.body, reply.headers.get("Idempotent-Replayed") == "true"

    async def refund_status(self, order_id: str, refund_id: str) -> str:
        url = f"{self.api}/orders/{order_id}/refunds/{refund_id}"
        return str((await self.must(200, "GET", url, token=self.staff_token))["status"])

    async def deliver(self, tracking_number: str, **how: Any) -> list[int | None]:
        """Has the carrier deliver a parcel and report it; the statuses that its callbacks were answered."""
        body = {"tracking_number": tracking_number, **how}
        told = await self.must(200, "POST", f"{self.simulator}/deliveries", body=body)
        return [one["status"] for one in told["reports"]]

    async def dead_letter(self, order_id: str) -> Any:
        """The open dead letter of an order, as staff sees it; raises Unavailable when there is none."""
        page = await self.must(200, "GET", f"{self.api}/dead-letters", token=self.staff_token)
        for letter in page["items"]:
            if letter["order_id"] == order_id:
                return letter
        raise Unavailable(f"the dead letter of order {order_id} is not listed")

    async def retry(self, letter_id: str) -> None:
        await self.must(202, "POST", f"{self.api}/dead-letters/{letter_id}/retry", token=self.staff_token)

    async def heal_carrier(self) -> None:
        await self.must(200, "DELETE", f"{self.simulator}/behavior")

    async def bookings(self, order_id: str) -> list[str]:
        """What became of each parcel that the carrier has booked for an order."""
        return [entry["status"] for entry in (await self.ledger())["bookings"] if entry["order_id"] == order_id]

    async def ledger(self) -> Any:
        return await self.must(200, "GET", f"{self.simulator}/ledger")
