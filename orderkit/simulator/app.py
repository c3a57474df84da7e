"""The simulator over HTTP.

| call | under Idempotency-Key | answers |
|---|---|---|
| POST /charges `{amount,currency,method}` | the payment's | 200 captured with `reference`, 402 declined with `code` |
| POST /voids `{amount,currency}` | the charge's | 200 voided, or the charge's own answer |
| POST /refunds `{charge,amount,currency}` | the refund's | 200 refunded with `reference`, 402 refused with `code` |
| POST /bookings `{order_id,address,amount,currency}` | the shipment's | 200 booked with `reference`, 4xx rejected |
| POST /bookings/cancel `{}` | the booking's | 200 cancelled |
| POST /deliveries `{key}` or `{tracking_number}` | | reports the parcel delivered; what the API answered |
| GET /ledger | | `{"captures","refunds","bookings"}`: what was really done, oldest first |
| POST /behavior `{target,mode,count}` · DELETE /behavior | | the next calls misbehave · heals |
| GET /health | | 200 |
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from orderkit.settings import Settings
from orderkit.simulator import carrier, deliveries, provider
from orderkit.simulator.misbehaviour import SLOW_S, HangUp, Misbehaviour, TransportAware, hold
from orderkit.simulator.requests import Asked, Behavior, Booking, Cancellation, Charge, Delivery, Refund, Target, Void
from orderkit.simulator.store import Act, Store
from orderkit.simulator.telling import Call, told
from orderkit.simulator.verdicts import SERVER_ERROR, Verdict

A = TypeVar("A", bound=Asked)

_KEY = re.compile(r"[\x21-\x7e]{1,255}")

LEDGER = {
    "captures": "SELECT key, reference, amount, currency, status, method, at FROM charges"
    " WHERE status = 'captured' ORDER BY rowid",
    "refunds": "SELECT key, reference, amount, currency, status, charge, at FROM refunds"
    " WHERE status = 'refunded' ORDER BY rowid",
    "bookings": "SELECT b.key, reference, amount, currency, CASE WHEN status = 'booked' AND d.key IS NOT NULL"
    " THEN 'delivered' ELSE status END AS status, order_id, b.at"
    " FROM bookings b LEFT JOIN deliveries d ON d.key = b.key WHERE reference IS NOT NULL ORDER BY b.rowid",
}


def create_simulator(store_path: Path, settings: Settings) -> Starlette:
    """The simulator with its store in `store_path`; whoever serves it sets `state.draining` when it is to end.

    The settings say where the API is that hears of deliveries, and what signs them.

    Raises ConfigurationError when the store cannot be kept there.
    """
    simulator = _Simulator(Store(store_path), settings)
    app = TransportAware(
        routes=[
            Route("/charges", simulator.charge, methods=["POST"]),
            Route("/voids", simulator.void, methods=["POST"]),
            Route("/refunds", simulator.refund, methods=["POST"]),
            Route("/bookings", simulator.book, methods=["POST"]),
            Route("/bookings/cancel", simulator.cancel, methods=["POST"]),
            Route("/deliveries", simulator.deliver, methods=["POST"]),
            Route("/ledger", simulator.ledger, methods=["GET"]),
            Route("/behavior", simulator.misbehave, methods=["POST"]),
            Route("/behavior", simulator.heal, methods=["DELETE"]),
            Route("/health", _health, methods=["GET"]),
        ],
        exception_handlers={ValidationError: _invalid, HTTPException: _refused, ClientDisconnect: _left},
        lifespan=simulator.lifespan,
    )
    app.state.draining = simulator.draining
    return app


class _Simulator:
    def __init__(self, store: Store, settings: Settings) -> None:
        self.draining = asyncio.Event()
        self._store = store
        self._settings = settings
        self._misbehaviour = Misbehaviour()

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await asyncio.to_thread(self._store.close)

    async def charge(self, request: Request) -> Response:
        key, asked = await _read(request, Charge)
        slow = asked.method == "pm_card_slow"
        with told(request, "gateway", "charge", key) as call:
            return await self._play(call, "gateway", lambda store: provider.charge(store, key, asked), slow=slow)

    async def void(self, request: Request) -> Response:
        key, asked = await _read(request, Void)
        with told(request, "gateway", "void", key) as call:
            return await self._play(call, "gateway", lambda store: provider.void(store, key, asked))

    async def refund(self, request: Request) -> Response:
        key, asked = await _read(request, Refund)
        with told(request, "gateway", "refund", key) as call:
            return await self._play(call, "gateway", lambda store: provider.refund(store, key, asked))

    async def book(self, request: Request) -> Response:
        key, asked = await _read(request, Booking)
        slow = (asked.address or {}).get("postal_code") == "SLOW"
        with told(request, "carrier", "book", key, order_id=asked.order_id) as call:
            return await self._play(call, "carrier", lambda store: carrier.book(store, key, asked), slow=slow)

    async def cancel(self, request: Request) -> Response:
        key, _ = await _read(request, Cancellation)
        with told(request, "carrier", "cancel", key) as call:
            return await self._play(call, "carrier", lambda store: carrier.cancel(store, key))

    async def deliver(self, request: Request) -> Response:
        """Reports a delivery and answers what came back. A forged one delivers nothing."""
        asked = Delivery.model_validate_json(await request.body())
        keys = await asyncio.to_thread(
            lambda: self._settings.carrier_webhook_keys
        )  # development may read it from a file
        if not keys:
            raise HTTPException(
                409, "there is nothing to sign with; set ORDERKIT_CARRIER_WEBHOOK_SECRET, as for the API"
            )
        delivered = await self._store.run(lambda store: deliveries.deliver(store, asked))
        if isinstance(delivered, Verdict):
            return _answer(delivered)
        with told(request, "carrier", "deliver", delivered.key) as call:
            reported = await deliveries.report(delivered, asked, key=keys[0], api=self._settings.public_url)
            call.outcome = "reported"
        return JSONResponse(reported)

    async def ledger(self, _request: Request) -> Response:
        return Response(await self._store.run(_ledger), media_type="application/json")

    async def misbehave(self, request: Request) -> Response:
        """Plans misbehaviour for the next calls, after any that is planned already."""
        self._misbehaviour.plan(Behavior.model_validate_json(await request.body()))
        return JSONResponse({"waiting": self._misbehaviour.plans()})

    async def heal(self, _request: Request) -> Response:
        """Forgets the misbehaviour that is still to come, and heals the carrier.

        Keys that `FAIL-ALWAYS` has failed so far can be booked from now on, so that a dead letter can be retried after
        the carrier is well again; keys that come new with `FAIL-ALWAYS` fail as before.
        """
        forgotten = self._misbehaviour.forget()
        return JSONResponse({"forgotten": forgotten, "healed": await self._store.run(carrier.heal)})

    async def _play(self, call: Call, target: Target, act: Act[Verdict], *, slow: bool = False) -> Response:
        """One call to provider or carrier, as it is to go: well, badly, or without an answer."""
        mode = self._misbehaviour.take(target)
        if mode == "down":
            call.outcome = "hung up"
            return HangUp()
        if mode == "error":
            call.outcome = "failed"
            return _answer(SERVER_ERROR)
        if mode == "timeout_before":
            return await hold(call.request, self.draining)
        if mode == "slow" or slow:
            await asyncio.sleep(SLOW_S)
        verdict = await self._store.run(act)
        if mode == "timeout_after" or verdict.unanswered:
            call.outcome = f"{verdict.outcome}, unanswered"
            return await hold(call.request, self.draining)
        call.outcome = verdict.outcome
        return _answer(verdict)


async def _read(request: Request, model: type[A]) -> tuple[str, A]:
    """The key and what is asked. Raises HTTPException 422 for a bad key, ValidationError for a bad body."""
    keys = request.headers.getlist("Idempotency-Key")
    if len(keys) != 1 or not _KEY.fullmatch(keys[0]):
        raise HTTPException(422, "one Idempotency-Key of 1 to 255 visible ASCII characters is required")
    return keys[0], model.model_validate_json(await request.body())


def _answer(verdict: Verdict) -> Response:
    return JSONResponse(verdict.body, verdict.status)


def _ledger(store: Connection) -> bytes:
    """In the store's thread, JSON included: with 100,000 entries it takes a second."""
    return json.dumps({name: [dict(row) for row in store.execute(query)] for name, query in LEDGER.items()}).encode()


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _invalid(_request: Request, error: Exception) -> Response:
    problems = error.errors(include_url=False, include_input=False) if isinstance(error, ValidationError) else []
    detail = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'body'}: {one['msg']}" for one in problems)
    return JSONResponse({"code": "invalid", "detail": detail}, 422)


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = error.detail if isinstance(error, HTTPException) else ""
    headers = error.headers if isinstance(error, HTTPException) else None
    return JSONResponse({"code": "invalid", "detail": detail}, status, headers=headers)


async def _left(_request: Request, _error: Exception) -> Response:
    """The caller went in the middle of its request; nobody will read this."""
    return Response(status_code=400)
