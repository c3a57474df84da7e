"""Whether every answer is as the OpenAPI document of the API says, whatever is asked, by whomever, on both engines.

    python -m loadtests.schema --cases 5000 --seed 1

Cases come from the document by Schemathesis: the boundaries of every schema, values made up from them, and chains of
requests in which an answer gives the ids of the next. `orderkit serve` and `orderkit worker` run as users run them. An
answer is wrong if it is a 500, has a status, media type or header that the document does not list, or a body that is not
as its schema says.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import requests

from loadtests import arguments, stack
from loadtests.exploring import Callers, Explorer, Found
from loadtests.stack import Stack
from orderkit.db import Database

ENGINES = ("sqlite", "postgresql")
PRODUCTS, USERS, ORDERS = 20, 20, 100
UNLIMITED = {
    # As many logins and registrations as are asked for: a 429 says little of an operation.
    "ORDERKIT_MAILS_PER_ADDRESS": "100000",
    "ORDERKIT_LOGIN_FAILURES_PER_ADDRESS": "100000",
    "ORDERKIT_LOGIN_FAILURES_PER_ACCOUNT": "1000",
    "ORDERKIT_LOG_FORMAT": "json",
}
TOLD = 3
"""How many examples are printed of each thing that is wrong."""


class Asked(Stack):
    """A stack without limits on logins, with a past, and with a worker."""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | UNLIMITED

    @contextmanager
    def working(self) -> Iterator[None]:
        command = [sys.executable, "-m", "orderkit", "worker", "--workers", "4"]
        with (self.within / "worker.log").open("wb") as log:
            process = subprocess.Popen(command, env=self.environment, cwd=self.within, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.terminate()
            process.wait(stack.STOP_WITHIN_S)

    def traces(self) -> list[str]:
        """What the API and the worker logged of errors that nobody expected."""
        logs = [(self.within / name).read_text(errors="replace") for name in ("serve.log", "worker.log")]
        return [line for log in logs for line in log.splitlines() if "Traceback" in line or '"level":"ERROR"' in line]


def main() -> int:
    chosen = _arguments()
    wrong = 0
    for name in chosen.engines:
        with stack.tidy_when_told_to_stop(), ExitStack() as until_done:
            running = until_done.enter_context(Asked.migrated(sqlite=name == "sqlite"))
            running.seed(products=PRODUCTS, users=USERS)
            running.run("seed", "--orders", str(ORDERS), "--users", str(USERS), "--seed", "1")
            until_done.enter_context(running.serving())
            until_done.enter_context(running.working())
            started = time.monotonic()
            found = explored(running, chosen.cases, chosen.seed)
            wrong += told(running.engine.name, found, time.monotonic() - started)
            traces = running.traces()
            wrong += len(traces)
            print("\n".join(traces[:TOLD]), end="\n" if traces else "", flush=True)
    return 1 if wrong else 0


def explored(running: Stack, cases: int, seeded: int) -> Found:
    """Asks the API that runs, whose database is the stack's."""
    base_url = f"http://{stack.HOST}:{running.port}"
    database = Database(running.settings)
    try:
        with requests.Session() as session:
            session.trust_env = False
            document = session.get(f"{base_url}/openapi.json").json()
            callers = Callers(database, running.settings)
            return Explorer(document, callers, session, base_url, seeded=seeded).explore(cases)
    finally:
        database.dispose()


def told(engine: str, found: Found, seconds: float) -> int:
    """Prints what was asked and what was answered wrongly; gives how many kinds of wrong answers there were."""
    ways = ", ".join(f"{number:,} {way}" for way, number in found.by_way.items())
    print(f"{engine}: {found.cases:,} cases ({ways}) in {seconds:.0f} s")
    print(f"asked by {', '.join(f'{who} {number:,}' for who, number in found.asked.most_common())}")
    statuses: Counter[int] = Counter()
    for (_operation, status), number in found.answered.items():
        statuses[status] += number
    print(f"answered {', '.join(f'{status}: {number:,}' for status, number in sorted(statuses.items()))}")
    reached = {operation for operation, status in found.answered if status < 400}
    asked = {operation for operation, _status in found.answered}
    print(f"{len(asked)} operations, of which {len(reached)} did what they were asked at least once")
    print(f"never: {', '.join(sorted(asked - reached)) or 'none'}")
    for (operation, status, what), examples in sorted(found.wrong.items()):
        print(f"WRONG {operation} {status}: {what} ({len(examples)} times)")
        for one in examples[:TOLD]:
            print(f"    {one}")
    print(f"{len(found.wrong)} kinds of answers that are not as the document says", flush=True)
    return len(found.wrong)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m loadtests.schema", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--engines", type=lambda text: text.split(","), default=list(ENGINES), metavar="E,E", help="sqlite,postgresql"
    )
    parser.add_argument("--cases", type=int, default=5000, metavar="N", help="requests on each engine (5000)")
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="of everything random (1)")
    chosen = arguments.parsed(parser, cases=100_000)
    if not set(chosen.engines) <= set(ENGINES):
        parser.error(f"--engines is some of {','.join(ENGINES)}")
    return chosen


if __name__ == "__main__":
    sys.exit(main())
