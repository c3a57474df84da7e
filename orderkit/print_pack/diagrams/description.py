"""What runs, who talks to whom, and what an order's journey is made of: said once, for the two diagrams that show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Part:
    """Something that takes part. `command` is what starts it as a process of orderkit, in the words of the command line.

    A process is orderkit's, a store keeps what must outlive processes, and outside is whatever somebody else runs.
    """

    name: str
    kind: Literal["process", "store", "outside"]
    lines: Sequence[str] = ()
    command: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """Who calls whom, over which protocol, and about what."""

    caller: str
    called: str
    protocol: str
    about: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the journey: who does what towards whom, and what holds if somebody dies there.

    A `transaction` is one commit in the database; `outside` is a call to somebody else, while no transaction is open.
    """

    caller: str
    called: str
    what: Sequence[str]
    safe: Sequence[str]
    kind: Literal["request", "answer", "transaction", "outside"]


PARTS: Sequence[Part] = (
    Part("client", "outside", ("shop, app, another system",)),
    Part("command line", "process", ("people who look after it",), "orders"),
    Part("API", "process", ("one event loop, threads for SQL",), "serve"),
    Part("database", "store", ("SQLite in a file,", "or PostgreSQL")),
    Part("provider", "outside", ("takes money",), "simulate"),
    Part("carrier", "outside", ("takes parcels",), "simulate"),
    Part("queue", "store", ("a file, or Redis;", "may lose everything")),
    Part("worker", "process", ("relay, loop, tasks",), "worker"),
    Part("mail server", "outside", ("confirmations, resets",)),
    Part("Prometheus", "outside"),
    Part("trace collector", "outside"),
)

MESSAGES: Sequence[Message] = (
    Message("client", "API", "HTTP, JSON", ("token, Idempotency-Key",)),
    Message("command line", "database", "SQL", ("same domains,", "same locks")),
    Message("API", "database", "SQL", ("orders,", "answers")),
    Message("API", "provider", "HTTP", ("charge",)),
    Message("worker", "provider", "HTTP", ("charge, void,", "refund")),
    Message("worker", "database", "SQL", ("claims,", "outcomes")),
    Message("worker", "queue", "file, RESP", ("ids of rows",)),
    Message("worker", "carrier", "HTTP", ("book, recall",)),
    Message("carrier", "API", "HTTP, signed", ("delivered",)),
    Message("worker", "mail server", "SMTP"),
)

WATCHING: Sequence[Message] = (
    Message("Prometheus", "API", "HTTP", ("GET /metrics",)),
    Message("Prometheus", "worker", "HTTP", ("GET /metrics",)),
    Message("API", "trace collector", "OTLP", ("spans",)),
    Message("worker", "trace collector", "OTLP", ("spans",)),
)
"""What goes on beside the work, and may fail without harm to it."""

LANES: Sequence[str] = ("client", "API", "database", "provider", "worker", "carrier")

Pause = str
"""What lies between two parts of the journey."""

JOURNEY: Sequence[Step | Pause] = (
    Step(
        "client",
        "API",
        ("POST /orders", "Idempotency-Key, expected total"),
        ("Client dies or gives up: it repeats the key, and", "gets the first answer, or 409 while that is made."),
        "request",
    ),
    Step(
        "API",
        "database",
        ("claim key, price, take stock", "order pending, payment created"),
        ("API dies before COMMIT: no order, key is free.", "(user, key) is unique: one key, one order, for ever."),
        "transaction",
    ),
    Step(
        "API",
        "provider",
        ("charge, 5 s at most", "key = payment id"),
        (
            "API dies, or nobody answers: the payment is due",
            "again; the worker charges under the same key, so",
            "money is taken once.",
        ),
        "outside",
    ),
    Step(
        "API",
        "database",
        ("payment captured, order paid", "history, event, stored answer"),
        (
            "Request and worker settle alike, under the order's",
            "lock: whoever is first decides, the next changes",
            "nothing.",
        ),
        "transaction",
    ),
    Step(
        "API",
        "client",
        ("201 paid, 402 declined, 202 open",),
        ("The answer is lost: it is stored, and given again", "to whoever repeats the key."),
        "answer",
    ),
    "in the background: the loop asks four times a second what is due",
    Step(
        "worker",
        "database",
        ("event sent, fulfillment queued",),
        ("Both in one transaction, or neither; one relay at a", "time, and one fulfillment for each order."),
        "transaction",
    ),
    Step(
        "worker",
        "database",
        ("claim: lease 10 s, token + 1",),
        (
            "The queue loses the task: the row is still due, and",
            "is woken again after 5 s. A task given twice claims",
            "once.",
        ),
        "transaction",
    ),
    Step(
        "worker",
        "carrier",
        ("book", "key = fulfillment id"),
        (
            "Worker dies: the lease ends, another claims and",
            "books under the same key. Carrier down: tried again",
            "at run_at; in the end a dead letter.",
        ),
        "outside",
    ),
    Step(
        "worker",
        "database",
        ("attempt kept, order shipped",),
        ("A worker that comes back late holds an older token:", "what it writes changes nothing."),
        "transaction",
    ),
    "when the parcel has arrived",
    Step(
        "carrier",
        "API",
        ("POST /webhooks/carrier", "signed, with a time"),
        ("Forged or old: refused. Repeated: changes nothing.", "Earlier than our own answer: remembered."),
        "request",
    ),
    Step(
        "API",
        "database",
        ("order delivered",),
        ("API dies before COMMIT: the carrier has no answer,", "and may report it again."),
        "transaction",
    ),
)
