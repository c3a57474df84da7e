"""How far everything is: what customers were answered, what the database says of their orders, and what is worth telling."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orderkit.demo.script import Act, Wish
from orderkit.demo.verdict import Told
from orderkit.demo.watching import Seen

REFUSED = "refused"
ENDS = ("shipped", "delivered", "payment_failed", "cancelled", "refunded")


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer to POST /orders: `code` is the problem's, if it was one; `order_id` the order's that was kept."""

    status: int
    replayed: bool
    code: str | None
    order_id: str | None


@dataclass(slots=True)
class Journey:
    """A wish on its way. `closed` once its customer wants nothing more; `last` is the order as they saw it last, where they
    wanted more than to have it. Times are seconds since the story began."""

    wish: Wish
    answers: list[Answer] = field(default_factory=list)
    seen: Seen | None = None
    began: float | None = None
    ended: float | None = None
    closed: bool = False
    last: Mapping[str, Any] | None = None

    @property
    def order_ids(self) -> frozenset[str]:
        """The orders it was told of; there should be one at most."""
        return frozenset(answer.order_id for answer in self.answers if answer.order_id is not None)

    @property
    def kept(self) -> bool:
        return bool(self.order_ids)

    @property
    def declined(self) -> bool:
        return any(answer.status == 402 for answer in self.answers)

    def saw(self, status: str) -> bool:
        """Whether that is what the order was when its customer looked last."""
        return self.last is not None and self.last["status"] == status

    @property
    def outcome(self) -> str | None:
        """The order's last state, `refused` if there is to be none, `unanswered` if that cannot be said; None before."""
        if not self.closed:
            return None
        if self.seen is not None:
            stale = self.last is not None and self.seen.version < self.last["version"]
            return self.seen.status if self.seen.status in ENDS and not stale else None
        if self.kept:
            return None
        return REFUSED if self.answers and self.answers[-1].status == 409 else "unanswered"


@dataclass(slots=True)
class Scene:
    """An act and the journeys in it."""

    act: Act
    journeys: Sequence[Journey]

    @property
    def begun(self) -> bool:
        return any(journey.began is not None for journey in self.journeys)

    @property
    def outcomes(self) -> Counter[str]:
        return Counter(journey.outcome for journey in self.journeys if journey.outcome is not None)

    @property
    def done(self) -> bool:
        return all(journey.ended is not None for journey in self.journeys)

    @property
    def as_foretold(self) -> bool:
        """Whether everything ended as the script says."""
        foretold = Counter({self.act.ends: len(self.journeys) - self.act.refused, REFUSED: self.act.refused})
        return self.outcomes == +foretold

    @property
    def answers(self) -> Counter[int]:
        """How often each status was answered, in the order of their first coming."""
        return Counter(answer.status for journey in self.journeys for answer in journey.answers)

    @property
    def seconds(self) -> float | None:
        """What the slowest journey took, or has taken so far by its latest change."""
        taken = [
            journey.ended - journey.began for journey in self.journeys if journey.began is not None and journey.ended
        ]
        return max(taken, default=None)


class Story:
    """All scenes, and the lines that were told, each with its second. Its processes answer at `api` and `simulator`."""

    def __init__(self, acts: Sequence[tuple[Act, Sequence[Wish]]], *, api: str, simulator: str) -> None:
        self.api = api
        self.simulator = simulator
        self.stage: Literal["starting", "up", "over"] = "starting"
        self.scenes = [Scene(act, [Journey(wish) for wish in wishes]) for act, wishes in acts]
        self.lines: list[tuple[float, str]] = []
        self.listener: Callable[[float, str], None] | None = None
        self._start = time.monotonic()
        self._end: float | None = None

    @property
    def seconds(self) -> float:
        """Since the demo began, until it has ended."""
        return (self._end or time.monotonic()) - self._start

    def end(self) -> None:
        """Nothing more is to be told; the clock stands still."""
        self._end = time.monotonic()

    @property
    def journeys(self) -> list[Journey]:
        return [journey for scene in self.scenes for journey in scene.journeys]

    def tell(self, text: str) -> None:
        line = (self.seconds, text)
        self.lines.append(line)
        if self.listener is not None:
            self.listener(*line)

    def observe(self, seen: Mapping[str, Seen]) -> None:
        """Takes in what the database says of each key."""
        for journey in self.journeys:
            journey.seen = seen.get(journey.wish.key, journey.seen)
            if journey.ended is None and journey.outcome is not None:
                journey.ended = self.seconds

    def told(self) -> Told:
        """What the customers can bear witness to."""
        journeys = self.journeys
        holding = [one for one in journeys if one.kept and not one.declined and not one.saw("cancelled")]
        paid_back: Counter[str] = Counter()
        for last in (one.last for one in journeys if one.last is not None):
            paid_back[last["currency"]] += last["payment"]["refunded"]
        return Told(
            taken=frozenset[str]().union(*(journey.order_ids for journey in journeys)),
            refused=frozenset(journey.wish.key for journey in journeys if journey.outcome == REFUSED),
            declined=frozenset[str]().union(*(journey.order_ids for journey in journeys if journey.declined)),
            cancelled=frozenset[str]().union(*(one.order_ids for one in journeys if one.saw("cancelled"))),
            delivered=frozenset[str]().union(*(one.order_ids for one in journeys if one.saw("delivered"))),
            paid_back=+paid_back,
            asked=len(journeys),
            requests=sum(len(journey.answers) for journey in journeys),
            pieces=sum(journey.wish.pieces for journey in holding),
            acts=len(self.scenes),
            as_foretold=sum(scene.as_foretold for scene in self.scenes),
        )
