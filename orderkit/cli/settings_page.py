"""The page that explains every setting: type, default and bounds from the settings themselves, and here what each is for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

HEAD = """\
# Every setting

A setting is an environment variable, or a line `NAME=value` in a file `.env` in the folder where orderkit runs; the variable
wins. Without either it has its default, and with all defaults orderkit runs on one machine, on SQLite. An empty value is as good
as none.

- Every process reads all settings at its start and tells everything that is wrong with them in one line: a value out of its
  bounds, a name that is no setting, two that do not go together. Then it starts with none of it. `orderkit config check` says the
  same beforehand.
- They are read once. After a change, restart API and worker; SIGTERM lets both finish what they have begun.
- `orderkit config show` tells what is in effect and where it comes from, and never prints a secret.
- "Read by" says which process does something else if it is changed. Give all processes the same settings nevertheless: one
  `.env`, or one group of variables for API, worker and commands.

Written by: `orderkit config docs -o docs/configuration.md`
"""

API, WORKER, SIMULATOR, COMMANDS = "API", "worker", "simulator", "commands"
BOTH = (API, WORKER)
OUR_DATABASE = (API, WORKER, COMMANDS)
EVERY = (API, WORKER, SIMULATOR, COMMANDS)


class Told(NamedTuple):
    """Which processes behave otherwise if a setting is changed, and what there is to know beyond its description."""

    read_by: tuple[str, ...]
    more: str = ""


class Group(NamedTuple):
    title: str
    settings: Mapping[str, Told]
    intro: str = ""


GROUPS: tuple[Group, ...] = (
    Group(
        "Where it runs",
        {
            "env": Told(EVERY, "Nothing else is a matter of the environment: the same code runs in both."),
            "home": Told(
                EVERY,
                "API, worker and commands of one installation must share it, unless PostgreSQL, Redis, a secret key "
                "and a mail server are all set: then nothing is kept there.",
            ),
            "database_url": Told(
                OUR_DATABASE,
                "`postgres://`, as many hosts write it, is the same as `postgresql://`. SQLite is one file that one "
                "process writes at a time, so it is for one machine ([decision "
                "4](decisions/0004-sqlite-first-postgresql-when-more.md)).",
            ),
            "replica_url": Told(
                (API, COMMANDS),
                "Nothing is decided from a replica: it may lag, and only reports may show what was true a moment ago.",
            ),
            "redis_url": Told(
                BOTH,
                "What is in Redis may be lost at any time: it holds calls to look at the database, and counts of the "
                "last minutes. So it needs no persistence and no backup. A worker does not start without the Redis "
                "that is named here.",
            ),
            "secret_key": Told(
                (API, WORKER, SIMULATOR),
                "Signs cursors, links in mails and, with salts that are in the database, access tokens. Whoever "
                "changes it makes all of these worthless that are out there; logins go on, for a refresh token is "
                "random and signed by nobody. To replace only what signs access tokens: `orderkit keys rotate`.",
            ),
        },
    ),
    Group(
        "Payment provider and carrier",
        {
            "gateway": Told(
                BOTH, "`builtin` decides by payment method and keeps no ledger; `simulator` keeps one to compare with."
            ),
            "carrier": Told(BOTH),
            "simulator_url": Told(BOTH),
            "carrier_webhook_secret": Told(
                (API, SIMULATOR),
                "To replace it, give the new and the old one by a comma until the carrier signs with the new; any of "
                "them is good.",
            ),
            "allow_test_providers": Told(EVERY),
            "gateway_timeout": Told(
                BOTH,
                "A charge that is not answered by then may have been taken all the same. The order stays `pending`, "
                "its buyer is told 202, and the worker asks again under the same key. Longer: buyers wait longer and "
                "fewer hear 202.",
            ),
            "carrier_timeout": Told((WORKER,), "Nobody waits for it but one thread of the worker."),
            "payment_void_after": Told(
                (WORKER,),
                "Until then the worker repeats the charge under the same key, because one that was not found may "
                "still be on its way. After it the key is voided: the money was never taken and never will be, or it "
                "was and is paid back. Until then its stock stays taken.",
            ),
        },
    ),
    Group(
        "Trying again, and leaving alone",
        {
            "lease": Told(
                OUR_DATABASE,
                "Whoever works on a key, a payment, a refund or a parcel claims its row for so long, so that no two "
                "do. If it dies, another may take the row up after that time, and not before: this is how long an "
                "order waits after a crash. If it was only slow, it finds that its claim is another's by now, and "
                "what it writes changes nothing. It must last for a call and the transactions around it: at least "
                "1.25 times ORDERKIT_GATEWAY_TIMEOUT and ORDERKIT_CARRIER_TIMEOUT, or nothing starts.",
            ),
            "retry_base": Told(
                BOTH,
                "The wait before the n-th repeat is a random time between 0 and `base × 2^(n-1)`, at most the cap. "
                "Random, because all that failed together would come back together. It holds for parcels, open "
                "payments, refunds and what the carrier has to be told. With the defaults: up to 0.5, 1, 2 and 4 s, "
                "so that five attempts take 7.5 s at most, and the calls themselves.",
            ),
            "retry_cap": Told(
                BOTH,
                "Matters for what is asked for ever, an open payment or refund: it is asked twice a minute or oftener.",
            ),
            "carrier_attempts": Told(
                (WORKER,),
                "What the carrier refuses for good (a 4xx) is a dead letter at once, whatever is set here. A booking "
                "that the breaker held back is no attempt. `orderkit dead-letters retry` gives all of them anew.",
            ),
            "breaker_failures": Told(
                BOTH,
                "A breaker counts, in each process and for each provider, calls in a row that had no verdict: "
                "timeouts, lost connections, 5xx. A decline or another definite no counts as an answer, and begins "
                "the count anew. At so many, calls are held back: a provider that is down is not asked, nobody waits "
                "for its timeout, orders are answered 202 at once and parcels are put off. Lower: it opens sooner, "
                "and a few unlucky calls may do it.",
            ),
            "breaker_open_for": Told(
                BOTH,
                "Then one call is let through. If it is answered, all are; if not, they are held back for as long "
                "again. So a provider that is down for an hour costs each process one call every two seconds, and "
                "one that is back is used within two seconds.",
            ),
            "idempotency_ttl_days": Told(
                OUR_DATABASE,
                "Within it, a request with a key that was used is answered with the first answer. After it the "
                "worker clears the answer, and a repeat is told 409 with the address of what it made; the order "
                "keeps its key for ever, so that no repeat makes a second one.",
            ),
        },
        "[An order's journey](journey.md) shows where each of these counts.",
    ),
    Group(
        "Bounds and deadlines",
        {
            "db_timeout": Told(OUR_DATABASE),
            "db_pool_size": Told(
                OUR_DATABASE,
                "An API process on PostgreSQL holds two pools of that size at most, and one or two connections "
                "besides; all processes together must stay below what the database allows (`max_connections`).",
            ),
            "request_timeout": Told((API,), "Must be longer than ORDERKIT_GATEWAY_TIMEOUT, or nothing starts."),
            "max_in_flight": Told((API,), "[How many requests under way](edge.md#how-many-requests-under-way)"),
            "slow_query": Told(BOTH),
        },
        "[Limits and deadlines](edge.md) has those that cannot be set too.",
    ),
    Group(
        "Who may come, and how often",
        {
            "access_token_minutes": Told(
                (API,), "A session that is ended ends its access tokens too, however long they were good for."
            ),
            "session_days": Told((API,)),
            "login_failures_per_account": Told((API,)),
            "login_failures_per_address": Told((API,)),
            "mails_per_address": Told((API,)),
            "login_window_minutes": Told((API,)),
            "rate_limit": Told((API,)),
            "trusted_proxies": Told(
                (API,),
                "Behind a proxy that is not named here, all clients are one address: its failed logins are counted "
                "together. If everybody is named here, anybody can say to be any address.",
            ),
            "cors_origins": Told((API,)),
        },
        "[Accounts and access](accounts.md) says what happens beyond the limits.",
    ),
    Group(
        "Mails and links",
        {
            "public_url": Told((API, WORKER, SIMULATOR), "The simulator reports deliveries to it."),
            "mail_url": Told((WORKER,)),
            "mail_from": Told((WORKER,)),
        },
        "[Mails](mail.md)",
    ),
    Group(
        "What can be seen of it",
        {
            "log_format": Told((API, WORKER, SIMULATOR)),
            "log_level": Told((API, WORKER, SIMULATOR)),
            "tracing": Told((API, WORKER, SIMULATOR)),
            "sentry_dsn": Told((API, WORKER, SIMULATOR)),
            "metrics_token": Told(BOTH),
            "worker_metrics_port": Told((WORKER,)),
            "worker_metrics_host": Told((WORKER,), "`0.0.0.0` lets a Prometheus on another machine in."),
        },
        "[Logs and traces](logs.md), [what is measured](metrics.md)",
    ),
)


def text() -> str:
    """The page."""
    parts = [HEAD, *_overview()]
    for group in GROUPS:
        parts += ["", f"## {group.title}", *(["", group.intro] if group.intro else [])]
        for name, told in group.settings.items():
            parts += ["", *_entry(name, told)]
    return "\n".join((*parts, ""))


def _overview() -> Iterator[str]:
    yield "| setting | default | read by |"
    yield "| --- | --- | --- |"
    for group in GROUPS:
        for name, told in group.settings.items():
            variable = _variable(name)
            yield f"| [`{variable}`](#{variable.lower()}) | {_default(_field(name))} | {', '.join(told.read_by)} |"


def _entry(name: str, told: Told) -> Iterator[str]:
    field = _field(name)
    yield f"### {_variable(name)}"
    yield ""
    yield f"{_coded(field.description or '')}"
    if told.more:
        yield ""
        yield _coded(told.more)
    yield ""
    yield f"{_kind(name, field)}. Default: {_default(field)}. Read by: {', '.join(told.read_by)}."


def _coded(told: str) -> str:
    """With names of settings and addresses set as code, unless they are."""
    return re.sub(r"(?<![`\w/])(?:ORDERKIT_\w+(?:/\w+)?|whsec_|[a-z]+://[^\s`,)]*[\w/])(?![`\w])", r"`\g<0>`", told)


def _variable(name: str) -> str:
    from orderkit.settings import PREFIX

    return PREFIX + name.upper()


def _field(name: str) -> FieldInfo:
    from orderkit.settings import Settings

    return Settings.model_fields[name]


def _default(field: FieldInfo) -> str:
    from orderkit.cli import config

    shown = config.default(field)
    return f"`{shown}`" if shown else "unset"


_KINDS = {
    "float": "A number",
    "int": "A whole number",
    "bool": "`0` or `1`",
    "Path": "A path",
    "SecretStr": "A secret",
    "str": "Text",
}


def _kind(name: str, field: FieldInfo) -> str:
    """What may be written: `A number over 0, at most 3600`."""
    from orderkit.cli import config

    if choices := config.choices(field.annotation):
        return "One of " + ", ".join(f"`{one}`" for one in choices)
    annotated = str(field.annotation)
    kind = next(told for sort, told in _KINDS.items() if re.search(rf"\b{sort}\b", annotated))
    if name.endswith("_url"):
        kind = "A secret URL" if "SecretStr" in annotated else "A URL"
    bounds = [told for told in map(_bound, field.metadata) if told]
    return f"{kind} {', '.join(bounds)}" if bounds else kind


def _bound(constraint: object) -> str:
    for sign, told in (
        ("gt", "over {}"),
        ("ge", "of {} or more"),
        ("le", "at most {}"),
        ("min_length", "of {} characters or more"),
    ):
        if (bound := getattr(constraint, sign, None)) is not None and (sign, bound) != ("min_length", 1):
            return told.format(f"{bound:,}")
    if (bound := getattr(constraint, "max_length", None)) is not None:
        return f"at most {bound} characters"
    return ""
