"""What becomes of orders when three times as many are asked for as can be taken.

    python -m loadtests.overload

Server and database share one core, and whoever orders has another, so that asking does not slow down answering. The peak is
measured first, the same way, with buyers who wait for their answers; then a crowd comes that does not: at half the peak, at
three times the peak, and at half again. Goodput is to stay near the peak, the rest is to be told 503 quickly.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loadtests import arguments, keeping, stack
from loadtests.buyers import Shift, order
from loadtests.crowd import Rush, Told, rush
from loadtests.stack import ROOT, Counts, Stack

PRODUCTS = 1000
CUSTOMERS = 100
CLIENTS = (32, 64, 128)
"""Of the peak: each is tried, because which is best depends on the machine."""
CALM = 0.5
WARM_UP_S = 3
SETTLES_S = 1.0
"""Of the crowd's rush the first second is left out: that is the queue filling."""
REFUSED_WITHIN_S = 0.25
PLOT = ROOT / "docs" / "images" / "overload.svg"


@dataclass(frozen=True)
class Outcome:
    """Orders a second at the peak, and what a crowd was told. `began` and `ended` are those of its rush, in seconds."""

    peak: float
    offered: float
    began: float
    ended: float
    told: Told
    kept: Counts

    def rushed(self, status: int) -> list[float]:
        """How long answers of a status took, of orders that were due while the rush was at its height."""
        return [
            took
            for due, took, one in zip(self.told.due, self.told.took, self.told.status, strict=True)
            if one == status and self.began + SETTLES_S <= due < self.ended
        ]

    @property
    def goodput(self) -> float:
        """Orders a second that were taken meanwhile: counted when they were answered, as the peak is."""
        answered = (due + took for due, took, _ in self._of(201))
        return sum(self.began + SETTLES_S <= at < self.ended for at in answered) / (self.ended - self.began - SETTLES_S)

    @property
    def ratio(self) -> float:
        return self.goodput / self.peak

    def _of(self, status: int) -> list[tuple[float, float, int]]:
        every = zip(self.told.due, self.told.took, self.told.status, strict=True)
        return [one for one in every if one[2] == status]

    @property
    def agrees(self) -> bool:
        """Whether each was told 201 or 503, and the database has what was told 201, once."""
        return set(self.told.status) <= {201, 503} and self.kept.all_are(self.told.status.count(201))


def main() -> int:
    chosen = _arguments()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("this needs two cores: one that answers and one that asks")
    with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
        os.sched_setaffinity(0, {cores[0]})  # what is started from here on answers
        running = until_done.enter_context(Stack.migrated(sqlite=chosen.sqlite))
        running.seed(products=PRODUCTS, users=CUSTOMERS)
        until_done.enter_context(running.serving())
        os.sched_setaffinity(0, {cores[1]})  # and what is started from here on asks
        until_done.callback(os.sched_setaffinity, 0, set(cores))
        print(f"{running.engine.name} · server and database on one core, the crowd on another", flush=True)
        outcomes = [_round(running, number, chosen) for number in range(1, chosen.rounds + 1)]
    typical = min(outcomes, key=lambda one: abs(one.ratio - median(each.ratio for each in outcomes)))
    keeping.keep(chosen, "overload", figures(outcomes, typical, chosen, running.engine.name))
    if chosen.plot:
        plot(typical, chosen.plot)
        print(f"drawn in {chosen.plot}")
    return verdict(outcomes, chosen.at_least, chosen.refused_within)


def figures(outcomes: Sequence[Outcome], typical: Outcome, chosen: argparse.Namespace, engine: str) -> dict[str, Any]:
    """All of it, as evidence; over time, of the typical round."""
    told = [
        {
            "peak": round(one.peak),
            "offered": round(one.offered),
            "goodput": round(one.goodput),
            "ratio": round(one.ratio, 3),
            "agrees": one.agrees,
            **{
                f"{name}_p{part}_ms": round(share(one.rushed(status), part / 100) * 1e3)
                for name, status in (("taken", 201), ("refused", 503))
                for part in (50, 95)
            },
        }
        for one in outcomes
    ]
    return {
        "engine": engine,
        "times": chosen.times,
        "seconds": chosen.seconds,
        "at_least": chosen.at_least,
        "refused_within_ms": round(chosen.refused_within * 1e3),
        "rounds": told,
        "ratio": median(one["ratio"] for one in told),
        "refused_p95_ms": median(one["refused_p95_ms"] for one in told),
        "agrees": all(one.agrees for one in outcomes),
        "peak": round(typical.peak),
        "began": typical.began,
        "ended": typical.ended,
        "series": series(typical),
    }


def _round(running: Stack, number: int, chosen: argparse.Namespace) -> Outcome:
    def buy(run: str, clients: int, seconds: float) -> float:
        tokens = running.tokens([1 + n % CUSTOMERS for n in range(clients)])
        return order(Shift(stack.HOST, running.port, run, seconds, tokens, skus)).orders_a_second

    skus = [stack.sku(n) for n in range(1, PRODUCTS + 1)]
    if number == 1:
        buy("warm-up", CLIENTS[0], min(WARM_UP_S, chosen.seconds))
    stack.settle_down(running.engine)
    peak = max(buy(f"peak-{number}-{clients}", clients, chosen.seconds / 2) for clients in CLIENTS)
    stack.settle_down(running.engine)
    before = running.counts()
    tokens = running.tokens([1 + n for n in range(CUSTOMERS)])
    calm_s = max(1.0, chosen.seconds / 4)
    phases = [(calm_s, CALM * peak), (chosen.seconds, chosen.times * peak), (calm_s, CALM * peak)]
    told = rush(Rush(stack.HOST, running.port, f"rush-{number}", phases, tokens, skus))
    one = Outcome(peak, chosen.times * peak, calm_s, calm_s + chosen.seconds, told, running.counts().since(before))
    if number == 1:
        print("round  peak/s  offered/s  goodput/s  ratio  taken p50 p95 ms  refused p50 p95 ms  in the database")
    taken, refused = one.rushed(201), one.rushed(503)
    print(
        f"{number:5}  {peak:6.0f}  {one.offered:9.0f}  {one.goodput:9.0f}  {one.ratio:5.2f}"
        f"  {share(taken, 0.5) * 1e3:9.0f} {share(taken, 0.95) * 1e3:6.0f}"
        f"  {share(refused, 0.5) * 1e3:11.0f} {share(refused, 0.95) * 1e3:6.0f}"
        f"  {'the same' if one.agrees else f'NOT THE SAME: {one.kept}, statuses {sorted(set(told.status))}'}",
        flush=True,
    )
    return one


def share(seconds: Sequence[float], part: float) -> float:
    """The time within which that part of them came; 0 for none."""
    return sorted(seconds)[int(len(seconds) * part)] if seconds else 0.0


def verdict(outcomes: Sequence[Outcome], at_least: float, refused_within: float) -> int:
    """Prints the medians and gives the exit code: 1 if goodput fell, refusals were slow, or what was told is not so."""
    ratio = median(one.ratio for one in outcomes)
    refused = median(share(one.rushed(503), 0.95) for one in outcomes)
    print(
        f"median: goodput {ratio:.2f} of the peak (at least {at_least:.2f} is wanted) · 95 in 100 refusals within "
        f"{refused * 1e3:.0f} ms (within {refused_within * 1e3:.0f} ms is wanted)"
    )
    wrong = [
        (not all(one.agrees for one in outcomes), "what the crowd was told and what the database has differ"),
        (ratio < at_least, f"less goodput than wanted: {ratio:.2f} < {at_least:.2f}"),
        (refused > refused_within, f"refused later than wanted: {refused * 1e3:.0f} ms"),
    ]
    for is_so, what in wrong:
        if is_so:
            print(what, file=sys.stderr)
    return int(any(is_so for is_so, _ in wrong))


STEP_S = 0.25


def series(one: Outcome) -> dict[str, list[Any]]:
    """Orders a second that were asked for, taken and refused, and how long answers took, by steps; None for no answer."""
    rows = list(zip(one.told.due, one.told.took, one.told.status, strict=True))
    steps = int(max((due + took for due, took, _ in rows), default=1.0) / STEP_S) + 1

    def rate(status: int | None) -> list[float]:
        counts = [0] * steps
        for due, took, found in rows:
            if status in (None, found):
                counts[min(steps - 1, int((due if status is None else due + took) / STEP_S))] += 1
        return [count / STEP_S for count in counts]

    def late(status: int) -> list[float | None]:
        of: list[list[float]] = [[] for _ in range(steps)]
        for due, took, found in rows:
            if found == status:
                of[min(steps - 1, int(due / STEP_S))].append(took)
        return [round(share(each, 0.95) * 1e3, 1) if each else None for each in of]

    return {
        "seconds": [STEP_S * number for number in range(steps)],
        "asked": rate(None),
        "taken": rate(201),
        "refused": rate(503),
        "taken_p95_ms": late(201),
        "refused_p95_ms": late(503),
    }


def gaps(values: Sequence[float | None]) -> list[float]:
    """As matplotlib wants to be told of what is not there."""
    return [float("nan") if one is None else one for one in values]


def plot(one: Outcome, target: Path) -> None:
    """Draws goodput, refusals and latency over time."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "orderkit", "font.size": 9}
    from matplotlib import pyplot

    seen = series(one)
    steps = seen["seconds"]
    figure, (above, below) = pyplot.subplots(2, 1, figsize=(8, 5.2), sharex=True, height_ratios=(3, 2))
    above.plot(steps, seen["asked"], color="0.6", label="asked for")
    above.plot(steps, seen["refused"], color="tab:orange", label="refused (503)")
    above.plot(steps, seen["taken"], color="tab:blue", label="taken (201)")
    above.axhline(one.peak, color="tab:blue", linestyle=":", label="peak without a crowd")
    above.set_ylabel("orders a second")
    above.legend(loc="upper right", frameon=False)
    below.plot(steps, gaps(seen["taken_p95_ms"]), color="tab:blue", label="taken")
    below.plot(steps, gaps(seen["refused_p95_ms"]), color="tab:orange", label="refused")
    below.set_ylabel("95th percentile, ms")
    below.set_xlabel("seconds")
    below.set_ylim(bottom=0)
    for axes in (above, below):
        axes.axvspan(one.began, one.ended, color="0.95")
        axes.spines[["top", "right"]].set_visible(False)
    above.set_title(f"Goodput at {one.offered / one.peak:.0f} times capacity: {one.ratio:.2f} of the peak")
    figure.tight_layout()
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.overload", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=12, help="how long the crowd rushes (12)")
    parser.add_argument("--times", type=int, default=3, help="how many times the peak it asks for (3)")
    parser.add_argument("--rounds", type=int, default=3, help="how often all of it is done (3)")
    parser.add_argument("--sqlite", action="store_true", help="on SQLite, not PostgreSQL")
    keeping.offer(parser)
    parser.add_argument("--plot", type=Path, metavar="FILE", help=f"draw it; the docs have {PLOT.relative_to(ROOT)}")
    parser.add_argument("--at-least", type=float, default=0.8, help="exit 1 if the share of the peak is below (0.8)")
    parser.add_argument(
        "--refused-within", type=float, default=REFUSED_WITHIN_S, help="exit 1 if 95 in 100 took more seconds (0.25)"
    )
    return arguments.parsed(parser, seconds=120, times=10, rounds=20)


if __name__ == "__main__":
    sys.exit(main())
