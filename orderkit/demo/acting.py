"""The acts as they are played. Each is a customer with one key who wants one order, whatever befalls."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import aiohttp

from orderkit.demo import script
from orderkit.demo.customers import Shop
from orderkit.demo.story import Answer, Journey, Scene, Story
from orderkit.errors import Unavailable
from orderkit.money import to_text

AT_ONCE = 16
"""Ordinary customers in the shop at a time; the others wait outside."""

SPREAD_S = 4.0
"""The acts begin one by one over this time, so that the eye can follow."""

HANGS_UP_AFTER_S = 0.5
DEAD_FOR_S = 1.0
"""Long enough to be seen."""

REPORTS_AT_ONCE = 3
LOOK_AGAIN_AFTER_S = 0.1

TRIES = 30
AGAIN_AFTER_S = 0.4
COME_BACK = ("idempotency_key_in_use", "unavailable")
"""Answers after which the same request, under the same key, is to be sent again."""


class Acting:
    """Plays all scenes of a story in one shop."""

    def __init__(self, shop: Shop, story: Story) -> None:
        self._shop = shop
        self._story = story
        self._room = asyncio.Semaphore(AT_ONCE)
        self._special: dict[str, Callable[[Scene], Coroutine[None, None, None]]] = {
            "same_key": self._same_key,
            "hang_up": self._hang_up,
            "last_piece": self._last_piece,
            "repriced": self._repriced,
            "async": self._would_rather_not_wait,
            "dead_letter": self._dead_letter,
            "cancelled": self._cancelled,
            "part_back": self._part_back,
            "delivered": self._delivered,
        }

    async def play(self) -> None:
        """All acts, until each customer has what they came for. Raises Unavailable when the shop does not answer."""
        async with asyncio.TaskGroup() as group:
            ordinary, *special = self._story.scenes
            group.create_task(self._come_by(ordinary))
            for scene in special:
                group.create_task(self._special.get(scene.act.name, self._plain)(scene))
                await asyncio.sleep(SPREAD_S / len(special))

    async def _come_by(self, scene: Scene) -> None:
        async with asyncio.TaskGroup() as group:
            for journey in scene.journeys:
                group.create_task(self._ordinary(journey))
                await asyncio.sleep(SPREAD_S / len(scene.journeys))

    async def _ordinary(self, journey: Journey) -> None:
        async with self._room:
            await self._order(journey)

    async def _plain(self, scene: Scene) -> None:
        for journey in scene.journeys:
            await self._order(journey)

    async def _order(self, journey: Journey, *, respond_async: bool = False) -> None:
        """Wants an order and nothing more."""
        await self._until_answered(journey, respond_async=respond_async)
        journey.closed = True

    async def _until_answered(self, journey: Journey, *, respond_async: bool = False) -> None:
        """Sends the order, again under its key where the answer says so or none came."""
        for _ in range(TRIES):
            answer = await self._send(journey, respond_async=respond_async)
            if answer is not None and answer.code not in COME_BACK:
                break
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _send(
        self,
        journey: Journey,
        *,
        give_up_after: float | None = None,
        expected_total: int | None = None,
        respond_async: bool = False,
    ) -> Answer | None:
        """One request; None when no answer came."""
        if journey.began is None:
            journey.began = self._story.seconds
        try:
            answer = await self._shop.order(
                journey.wish,
                give_up_after=give_up_after,
                expected_total=expected_total,
                respond_async=respond_async,
            )
        except (aiohttp.ClientError, TimeoutError):
            return None
        journey.answers.append(answer)
        return answer

    async def _same_key(self, scene: Scene) -> None:
        [journey] = scene.journeys
        given = await asyncio.gather(*(self._send(journey) for _ in range(script.SAME_KEY_AT_ONCE)))
        answered = [answer for answer in given if answer is not None]
        busy = sum(answer.code in COME_BACK for answer in answered)
        await self._order(journey)
        last = journey.answers[-1]
        again = f"{last.status}{', replayed' if last.replayed else ''}"
        replayed = sum(answer.replayed for answer in answered)
        counts = {" × 409, come back": busy, " × its answer replayed": replayed}
        told = "".join(f"; {count}{what}" for what, count in counts.items() if count)
        self._story.tell(
            f"one key, {len(given)} requests at once: {len(journey.order_ids)} order{told}; asked once more: {again}"
        )

    async def _hang_up(self, scene: Scene) -> None:
        [journey] = scene.journeys
        await self._send(journey, give_up_after=HANGS_UP_AFTER_S)
        await self._order(journey)
        busy = sum(answer.code in COME_BACK for answer in journey.answers)
        last = journey.answers[-1]
        whose = ", the first one's answer" if last.replayed else ""
        self._story.tell(
            f"customer hung up after {HANGS_UP_AFTER_S} s, asked again: {busy} × 409 in use, then {last.status}{whose}"
        )

    async def _last_piece(self, scene: Scene) -> None:
        await asyncio.gather(*(self._order(journey) for journey in scene.journeys))
        got = sum(journey.kept for journey in scene.journeys)
        bought = next((answer.status for one in scene.journeys for answer in one.answers if one.kept), "none")
        refused = scene.answers[409]
        self._story.tell(
            f"{len(scene.journeys)} buyers at once for the last {script.LAST_PIECE.name.lower()}: {got} × {bought},"
            f" {refused} × 409 out_of_stock, nothing kept of those"
        )

    async def _repriced(self, scene: Scene) -> None:
        [journey] = scene.journeys
        ware = script.REPRICED
        seen = await self._shop.price(ware.sku)
        await self._shop.reprice(ware.sku, script.NEW_PRICE)
        first = await self._send(journey, expected_total=seen)
        now = await self._shop.price(ware.sku)
        second = await self._send(journey, expected_total=now)
        journey.closed = True
        told = ", then ".join(
            "no answer" if answer is None else f"{answer.status}{f' {answer.code}' if answer.code else ''}"
            for answer in (first, second)
        )
        self._story.tell(
            f"price went {to_text(seen, ware.currency)} → {to_text(now, ware.currency)}: {told} with the new total"
        )

    async def _would_rather_not_wait(self, scene: Scene) -> None:
        for journey in scene.journeys:
            await self._order(journey, respond_async=True)

    async def _dead_letter(self, scene: Scene) -> None:
        [journey] = scene.journeys
        order = await self._ordered(journey, lambda order: _parcel(order) == "dead")
        letter = await self._shop.dead_letter(order["id"])
        self._story.tell(f"carrier failed {letter['attempts']} times ({letter['reason']}): now a dead letter")
        await asyncio.sleep(DEAD_FOR_S)
        await self._shop.heal_carrier()
        await asyncio.gather(*(self._shop.retry(letter["id"]) for _ in range(2)))
        self._story.tell("carrier healed; staff retries the dead letter, twice at once")
        journey.last = await self._ordered(journey, _shipped)
        booked = await self._shop.bookings(order["id"])
        self._story.tell(f"shipped at last, {len(booked)} × in the carrier's ledger")
        journey.closed = True

    async def _cancelled(self, scene: Scene) -> None:
        [journey] = scene.journeys
        order = await self._ordered(journey, lambda order: _parcel(order) not in (None, "queued"))
        # The carrier takes 2 s, so it is still being asked.
        journey.last = await self._shop.cancel(journey.wish, order["id"])
        back = to_text(journey.last["payment"]["refunded"], order["currency"])
        self._story.tell(
            f"customer cancels while the carrier is being asked: {journey.last['status']}, {back} on its way back"
        )
        while "cancelled" not in await self._shop.bookings(order["id"]):  # noqa: ASYNC110 - only the carrier knows
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        self._story.tell("the carrier, not knowing, booked that parcel; the worker had it taken back")
        journey.closed = True

    async def _part_back(self, scene: Scene) -> None:
        [journey] = scene.journeys
        order = await self._ordered(journey, _shipped)
        lines = [{"line": 1, "quantity": script.SENT_BACK}]
        asked = {"lines": lines, "restock": True, "reason": "sent back"}
        key = f"refund-{journey.wish.key}"
        given = await asyncio.gather(*(self._shop.refund(order["id"], key, **asked) for _ in range(2)))
        (refund, _), (_, replayed) = sorted(given, key=lambda one: one[1])
        back = to_text(refund["amount"], order["currency"])
        self._story.tell(
            f"staff refunds {script.SENT_BACK} piece of {journey.wish.pieces}, {back}, twice at once under one key: 201 and"
            f" {'its replay' if replayed else 'another'}"
        )
        while await self._shop.refund_status(order["id"], refund["id"]) == "pending":  # noqa: ASYNC110 - the API knows
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        journey.last = await self._shop.look(journey.wish, order["id"])
        journey.closed = True

    async def _delivered(self, scene: Scene) -> None:
        [journey] = scene.journeys
        order = await self._ordered(journey, _shipped)
        number = order["fulfillment"]["tracking_number"]
        forged = await self._shop.deliver(number, forge=True)
        before = await self._shop.look(journey.wish, order["id"])
        reported = await self._shop.deliver(number, times=REPORTS_AT_ONCE)
        journey.last = await self._shop.look(journey.wish, order["id"])
        self._story.tell(
            f"forged delivery report: {_listed(forged)}, still {before['status']}; the carrier's own,"
            f" {REPORTS_AT_ONCE} at once: {_listed(reported)}, {journey.last['status']}"
        )
        journey.closed = True

    async def _ordered(self, journey: Journey, wanted: Callable[[Any], bool]) -> Any:
        """Orders, unless that was done, and looks again and again until the order is as wanted; the order."""
        if not journey.kept:
            await self._until_answered(journey)
        order_id = next(iter(journey.order_ids), None)
        if order_id is None:
            raise Unavailable(
                f"the demo cannot go on: there is no order after {TRIES} requests ({journey.wish.act.title})"
            )
        while not wanted(order := await self._shop.look(journey.wish, order_id)):  # noqa: ASYNC110 - the API knows
            await asyncio.sleep(LOOK_AGAIN_AFTER_S)
        return order


def _shipped(order: Any) -> bool:
    return bool(order["status"] == "shipped")


def _parcel(order: Any) -> str | None:
    return order["fulfillment"] and str(order["fulfillment"]["status"])


def _listed(statuses: Sequence[int | None]) -> str:
    """`400`, or `200 ×3`."""
    return ", ".join(f"{status or 'no answer'}{f' ×{n}' if n > 1 else ''}" for status, n in Counter(statuses).items())
