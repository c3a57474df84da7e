"""The acts as they are played. Each is a customer with one key who wants one order, whatever befalls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import aiohttp

from orderkit.demo import script
from orderkit.demo.customers import Shop
from orderkit.demo.story import Answer, Journey, Scene, Story
from orderkit.demo.watching import Seen
from orderkit.money import to_text

AT_ONCE = 16
"""Ordinary customers in the shop at a time; the others wait outside."""

SPREAD_S = 4.0
"""The acts begin one by one over this time, so that the eye can follow."""

HANGS_UP_AFTER_S = 0.5
DEAD_FOR_S = 1.0
"""Long enough to be seen."""

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
            await self._until_answered(journey)

    async def _plain(self, scene: Scene) -> None:
        for journey in scene.journeys:
            await self._until_answered(journey)

    async def _until_answered(self, journey: Journey, *, respond_async: bool = False) -> None:
        """Sends the order, again under its key where the answer says so or none came, and closes the journey."""
        for _ in range(TRIES):
            answer = await self._send(journey, respond_async=respond_async)
            if answer is not None and answer.code not in COME_BACK:
                break
            await asyncio.sleep(AGAIN_AFTER_S)
        journey.closed = True

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
        await self._until_answered(journey)
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
        await self._until_answered(journey)
        busy = sum(answer.code in COME_BACK for answer in journey.answers)
        last = journey.answers[-1]
        whose = ", the first one's answer" if last.replayed else ""
        self._story.tell(
            f"customer hung up after {HANGS_UP_AFTER_S} s, asked again: {busy} × 409 in use, then {last.status}{whose}"
        )

    async def _last_piece(self, scene: Scene) -> None:
        await asyncio.gather(*(self._until_answered(journey) for journey in scene.journeys))
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
            await self._until_answered(journey, respond_async=True)

    async def _dead_letter(self, scene: Scene) -> None:
        [journey] = scene.journeys
        await self._until_answered(journey)
        dead = await self._seen(journey, lambda seen: seen.parcel == "dead")
        letter = await self._shop.dead_letter(str(dead.id))
        self._story.tell(f"carrier failed {letter['attempts']} times ({letter['reason']}): now a dead letter")
        await asyncio.sleep(DEAD_FOR_S)
        await self._shop.heal_carrier()
        await asyncio.gather(*(self._shop.retry(letter["id"]) for _ in range(2)))
        self._story.tell("carrier healed; staff retries the dead letter, twice at once")
        shipped = await self._seen(journey, lambda seen: seen.status == "shipped")
        booked = await self._shop.bookings(str(shipped.id))
        self._story.tell(f"shipped, {booked} × in the carrier's ledger after {shipped.bookings} calls in all")

    async def _seen(self, journey: Journey, wanted: Callable[[Seen], bool]) -> Seen:
        """Waits until the order is seen as wanted."""
        while journey.seen is None or not wanted(journey.seen):  # noqa: ASYNC110 - only the database knows
            await asyncio.sleep(0.1)
        return journey.seen
