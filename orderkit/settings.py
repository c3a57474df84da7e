"""Every setting, checked at start. All problems are told at once, and nothing starts half configured."""

from __future__ import annotations

import difflib
import hashlib
import hmac
import io
import ipaddress
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from dotenv import dotenv_values
from dotenv.parser import parse_stream
from pydantic import AfterValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from orderkit import webhook_signatures
from orderkit.errors import ConfigurationError

logging.getLogger("dotenv").setLevel(logging.ERROR)  # what it warns of is a problem here, and told as one

PREFIX = "ORDERKIT_"
ENV_FILE = ".env"
MIN_SECRET_CHARACTERS = 32
MIN_SECRET_VARIETY = 20
"""Different runs of three characters in a secret. 32 random ones have nearly 30, even where they are all digits."""
NOT_IN_SECRETS = ("change", "default", "example", "orderkit", "password", "secret")
"""Words of placeholders. A key of 64 random characters holds one of them once in eight million."""
PRODUCTION_RATE_LIMIT = 600
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")
LEASE_OVER_TIMEOUT = 1.25
"""A lease lasts for a call to a provider and, on top, for the transactions before and after it."""


def _database_url(url: str) -> str:
    """`postgres://` and `postgresql://` both mean PostgreSQL through psycopg."""
    for scheme in ("postgres://", "postgresql://"):
        if url.startswith(scheme):
            url = "postgresql+psycopg://" + url.removeprefix(scheme)
    try:
        backend = make_url(url).get_backend_name()
    except (ArgumentError, ValueError):  # a ValueError quotes what it takes for the port, maybe half of a password
        raise ValueError(
            "is not a database URL; try postgresql://user:password@host/name or sqlite:///file.db"
        ) from None
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"names {backend}; only sqlite and postgresql are supported")
    return url


def _url(*schemes: str) -> AfterValidator:
    """Such a URL has one of these schemes and a place. What it is instead is not quoted: it may hold a password."""

    def check(url: str | None) -> str | None:
        scheme, found, place = (url or "").partition("://")
        if url is not None and not (found and place and scheme in schemes):
            raise ValueError(f"is not a URL that begins with {' or '.join(f'{one}://' for one in schemes)}")
        return url

    return AfterValidator(check)


def _networks(text: str) -> str:
    for one in text.split(","):
        try:
            ipaddress.ip_network(one.strip())
        except ValueError:
            raise ValueError("is not a list of addresses or networks such as 10.0.0.0/8, 192.0.2.7") from None
    return text


def _origins(text: str) -> str:
    """Each as a browser would send it: compared as text, what is spelt otherwise would never match."""
    for one in text.split(","):
        if not _ORIGIN.fullmatch(one.strip()):
            raise ValueError("is not a list of origins such as https://shop.example.com, http://localhost:3000")
    return text


def _mail_url(url: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(url.get_secret_value())
        good = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # it quotes what it takes for the port, maybe half of a password
        good = False
    if not good:
        raise ValueError("is not a mail URL; try smtp://user:password@host:587")
    return url


def _sentry_dsn(dsn: SecretStr) -> SecretStr:
    try:
        parts = urlsplit(dsn.get_secret_value())
        good = parts.scheme in ("http", "https") and bool(parts.hostname and parts.username) and parts.port != 0
    except ValueError:  # it quotes what it takes for the port, maybe half of a key
        good = False
    if not (good and parts.path.rpartition("/")[2].isdigit()):
        raise ValueError("is not a DSN; try https://key@host/number")
    return dsn


def _webhook_secrets(given: SecretStr) -> SecretStr:
    webhook_signatures.keys_of(given.get_secret_value())
    return given


def _sender(text: str) -> str:
    _name, address = parseaddr(text)
    if "@" not in address or not text.isprintable():
        raise ValueError("is not an address; try Shop <shop@example.com>")
    return text


Seconds = Annotated[float, Field(gt=0, le=3600)]


class Settings(BaseSettings):
    """The one place of configuration: `ORDERKIT_*` environment variables, else `.env`, else these defaults."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    env: Literal["development", "production"] = Field(
        "development", description="`production` refuses test providers and a missing or weak secret key."
    )
    home: Path = Field(
        Path(".orderkit"), description="Folder of the default database, the file queue and the development secret key."
    )
    database_url: Annotated[str | None, AfterValidator(lambda url: url and _database_url(url))] = Field(
        None, description="PostgreSQL or SQLite URL. Unset: SQLite in ORDERKIT_HOME."
    )
    replica_url: Annotated[str | None, AfterValidator(lambda url: url and _database_url(url))] = Field(
        None, description="A standby of the database that reports are read from. Unset: the database itself."
    )
    redis_url: Annotated[str | None, _url("redis", "rediss", "unix")] = Field(
        None,
        description="Redis for the task queue and the counts of requests and failed logins. Unset: a SQLite file in "
        "ORDERKIT_HOME, and counts in each process.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description=f"Signs tokens; at least {MIN_SECRET_CHARACTERS} characters. Development keeps a generated one in "
        "ORDERKIT_HOME; production refuses to start without.",
    )

    gateway: Literal["builtin", "simulator"] = Field(
        "builtin", description="Payment provider: in process, or the simulator over HTTP."
    )
    carrier: Literal["builtin", "simulator"] | None = Field(
        None, description="Carrier. Unset: the simulator when the gateway is, else in process."
    )
    simulator_url: Annotated[str, _url("http", "https")] = Field(
        "http://127.0.0.1:8090", description="Where the simulator listens."
    )
    carrier_webhook_secret: Annotated[
        SecretStr | None, AfterValidator(lambda given: given and _webhook_secrets(given))
    ] = Field(
        None,
        description="Signs the carrier's callbacks: whsec_ and base64 of 24 to 64 bytes; several by commas, of which the "
        "simulator takes the first. Unset: development derives one from its secret key, production takes none.",
    )
    allow_test_providers: bool = Field(False, description="Lets production run on builtin or simulator providers.")

    db_timeout: Seconds = Field(5.0, description="Seconds a statement or a wait for a lock or connection may take.")
    db_pool_size: int = Field(10, ge=2, le=100, description="Connections that one process may hold.")
    request_timeout: Seconds = Field(
        20.0,
        description="Seconds until a request is told that it took too long, with 503; what it began may still happen.",
    )
    max_in_flight: int = Field(
        256,
        ge=1,
        le=100_000,
        description="Requests under way in one process of the API; those above it are told 503 at once.",
    )
    slow_query: float = Field(
        0.5,
        ge=0,
        le=3600,
        description="Seconds from which on API and worker log a query, by the name that `orderkit explain` plans it by. 0: none.",
    )
    gateway_timeout: Seconds = Field(5.0, description="Seconds within which a charge is answered or called unknown.")
    carrier_timeout: Seconds = Field(5.0, description="Seconds a call to the carrier may take.")
    carrier_attempts: int = Field(5, ge=1, le=50, description="Bookings tried before a fulfillment is a dead letter.")
    retry_base: Seconds = Field(
        0.5, description="First retry after up to this many seconds, then doubled (full jitter)."
    )
    retry_cap: Seconds = Field(30.0, description="No retry waits longer than this many seconds.")
    breaker_failures: int = Field(20, ge=1, description="Failures in a row that open a provider's circuit breaker.")
    breaker_open_for: Seconds = Field(2.0, description="Seconds an open breaker keeps calls back.")
    lease: Seconds = Field(10.0, description="Seconds a claimed key or fulfillment belongs to whoever claimed it.")
    payment_void_after: float = Field(
        900.0,
        gt=0,
        le=2_592_000,
        description="Seconds after which a payment that is still unknown is voided at the provider.",
    )
    idempotency_ttl_days: int = Field(
        30, ge=1, le=3650, description="Days after which an idempotency key is no longer replayed."
    )
    access_token_minutes: int = Field(15, ge=1, le=15, description="Minutes an access token is good for.")
    session_days: int = Field(30, ge=1, le=30, description="Days after which a login ends, however often refreshed.")
    login_failures_per_account: int = Field(
        10, ge=1, le=1000, description="Failed logins of one account within the window before further ones wait."
    )
    login_failures_per_address: int = Field(
        50, ge=1, le=100_000, description="Failed logins from one address within the window before further ones wait."
    )
    mails_per_address: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Registrations and mails asked for from one address within the window before further ones wait.",
    )
    login_window_minutes: int = Field(
        15, ge=1, le=1440, description="Minutes within which failed logins and mails are counted."
    )
    rate_limit: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Requests a minute for one account, key or, without either, address; 0: no limit. "
        "Unset: none in development, 600 in production.",
    )
    trusted_proxies: Annotated[str | None, AfterValidator(lambda given: given and _networks(given))] = Field(
        None,
        description="Addresses or networks of proxies whose X-Forwarded-For and -Proto are believed, by commas. "
        "Unset: nobody's.",
    )
    cors_origins: Annotated[str | None, AfterValidator(lambda given: given and _origins(given))] = Field(
        None,
        description="Origins whose pages may call the API from a browser, by commas: https://shop.example.com. Unset: none.",
    )
    public_url: Annotated[str, _url("http", "https")] = Field(
        "http://127.0.0.1:8000", description="Where links in mails lead: this API as its users reach it."
    )
    mail_url: Annotated[SecretStr | None, AfterValidator(lambda given: given and _mail_url(given))] = Field(
        None,
        description="smtp://user:password@host:587 (STARTTLS) or smtps://host:465 (TLS). Unset: mails become files in "
        "ORDERKIT_HOME/outbox.",
    )
    mail_from: Annotated[str, Field(min_length=3, max_length=254), AfterValidator(_sender)] = Field(
        "orderkit@localhost", description="Sender of mails."
    )

    log_format: Literal["console", "json"] = Field("console", description="Logs for people or for machines.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="The least that is logged.")
    tracing: Literal["off", "otlp", "console"] = Field(
        "off",
        description="Spans by OpenTelemetry (orderkit[otel]): over OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says, or on stderr.",
    )
    sentry_dsn: Annotated[SecretStr | None, AfterValidator(lambda given: given and _sentry_dsn(given))] = Field(
        None, description="Where errors are reported to, in the protocol of Sentry (orderkit[sentry]). Unset: nowhere."
    )
    metrics_token: SecretStr | None = Field(None, description="Bearer token that /metrics asks for. Unset: open.")
    worker_metrics_port: int | None = Field(
        None, ge=0, le=65535, description="Port on which the worker answers /metrics; 0 takes a free one. Unset: none."
    )
    worker_metrics_host: str = Field("127.0.0.1", min_length=1, description="Address of that port.")

    @cached_property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite:///{self.home / 'orderkit.db'}"

    @cached_property
    def allowed_origins(self) -> frozenset[str]:
        """The origins of other sites whose pages may call the API."""
        return frozenset(one.strip() for one in (self.cors_origins or "").split(",") if one.strip())

    @cached_property
    def is_https_only(self) -> bool:
        """Whether browsers may be told never to come over plain http: in production, where users come over https."""
        return self.env == "production" and urlsplit(self.public_url).scheme == "https"

    @property
    def links_lead_nowhere(self) -> bool:
        """Whether links in mails would lead to this machine only, or over plain http, though this is production."""
        public = urlsplit(self.public_url)
        here = public.hostname in ("localhost", "127.0.0.1", "::1")
        return self.env == "production" and (here or public.scheme != "https")

    @property
    def requests_per_minute(self) -> int:
        """The limit for one principal; 0 for none."""
        if self.rate_limit is None:
            return PRODUCTION_RATE_LIMIT if self.env == "production" else 0
        return self.rate_limit

    @property
    def carrier_name(self) -> Literal["builtin", "simulator"]:
        return self.carrier or self.gateway

    @cached_property
    def carrier_webhook_keys(self) -> tuple[bytes, ...]:
        """Whose signature makes a callback the carrier's, that which signs first. None in production unless they are set.

        In development API and simulator find the same one, because they share `signing_key`.
        """
        if self.carrier_webhook_secret is not None:
            return webhook_signatures.keys_of(self.carrier_webhook_secret.get_secret_value())
        if self.env == "production":
            return ()
        return (hmac.digest(self.signing_key.encode(), b"orderkit carrier webhook", hashlib.sha256),)

    @cached_property
    def signing_key(self) -> str:
        """The secret that signs tokens. In development it is made once and kept in `home`, readable by its owner only."""
        if self.secret_key is not None:
            return self.secret_key.get_secret_value()
        path = self.home / "secret_key"
        try:
            if not path.exists():
                self._make_key(path)
            key = path.read_text()
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep the development secret key in {path} ({error.strerror}); set ORDERKIT_SECRET_KEY or ORDERKIT_HOME"
            ) from None
        if len(key) < MIN_SECRET_CHARACTERS:
            raise ConfigurationError(f"{path} holds no secret key; delete it, and a new one is made")
        return key

    def _make_key(self, path: Path) -> None:
        """Puts a whole key there at once, so that processes that start together read the same one, and never half of it."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, new = tempfile.mkstemp(dir=self.home)  # readable by its owner only
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(48))
            with suppress(FileExistsError):  # another process was first, and its key is the one
                os.link(new, path)
        finally:
            os.unlink(new)


class Judged(NamedTuple):
    """Settings, and what is wrong with them: sentences, and the names of those that were replaced by their defaults."""

    settings: Settings
    problems: list[str]
    replaced: frozenset[str]


def load_settings(**overrides: Any) -> Settings:
    """Settings from the environment and `.env`; keyword arguments win.

    Raises ConfigurationError that names every problem at once.
    """
    judged = judge_settings(**overrides)
    if judged.problems:
        raise ConfigurationError("; ".join(judged.problems) + " (orderkit config show lists all settings)")
    return judged.settings


def judge_settings(**overrides: Any) -> Judged:
    """The same for whoever goes on with those that are right, to find out what else is wrong."""
    file = read_env_file()
    problems = [*file.problems, *_unknown_names(file.values, ENV_FILE), *_unknown_names(os.environ, "the environment")]
    if not file.is_text:
        overrides = {"_env_file": None} | overrides
    wrong: dict[str, str] = {}
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        wrong = {str(problem["loc"][0]): _in_words(problem) for problem in error.errors()}
        problems += [f"{PREFIX}{name.upper()} {message}" for name, message in wrong.items()]
        # What is right is checked further, so that one start tells everything.
        settings = Settings(**overrides | {name: Settings.model_fields[name].default for name in wrong})
    joint = (*_lease_problems(settings), *_deadline_problems(settings), *_production_problems(settings))
    problems += [problem for name, problem in joint if name not in wrong]
    return Judged(settings, problems, frozenset(wrong))


_WRONG = {
    "literal_error": "has to be {expected}",
    "greater_than": "has to be more than {gt}",
    "greater_than_equal": "has to be {ge} or more",
    "less_than": "has to be less than {lt}",
    "less_than_equal": "has to be {le} or less",
    "string_too_short": "has to have {min_length} or more characters",
    "string_too_long": "has to have {max_length} or fewer characters",
    "finite_number": "has to be a number",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "has to be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "has to be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "has to be 1 or 0, which mean yes and no"),
}


def _in_words(problem: Any) -> str:
    """What is wrong with a setting. Never what it was set to, which may be a secret."""
    told = _WRONG.get(problem["type"])
    if told is None:
        return str(problem["msg"]).removeprefix("Value error, ")
    return told.format_map(
        {name: f"{one:g}" if isinstance(one, float) else one for name, one in problem.get("ctx", {}).items()}
    )


class EnvFile(NamedTuple):
    """What `.env` sets, and what is wrong with it. It is not quoted: it may hold a password."""

    values: Mapping[str, str | None]
    problems: list[str]
    is_text: bool = True


def read_env_file() -> EnvFile:
    """`.env` as it is now; no file is an empty one."""
    path = Path(ENV_FILE)
    if not path.is_file():
        return EnvFile({}, [])
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return EnvFile({}, [f"{ENV_FILE} is not UTF-8"], is_text=False)
    good, problems = [], []
    for binding in parse_stream(io.StringIO(text)):
        written = binding.original.string
        if binding.error or (binding.value is None and (binding.key or "").upper().startswith(PREFIX)):
            # The parser counts from the empty lines before it.
            line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
            problems.append(f"{ENV_FILE} line {line} is not NAME=value")
        else:
            good.append(written)
    return EnvFile(dotenv_values(stream=io.StringIO("".join(good))), problems)


def _unknown_names(given: Mapping[str, str | None], where: str) -> Iterator[str]:
    """A problem for each name that is meant for a setting there is not."""
    known = [name.upper() for name in Settings.model_fields]
    for name in sorted(given):
        short = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and short not in known:
            meant = "".join(f", did you mean {PREFIX}{one}?" for one in difflib.get_close_matches(short, known, n=1))
            yield f"{name} in {where} is not a setting{meant}"


def _lease_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """A call that outlives its lease is taken for dead while it is under way: parcels that are booked would never ship."""
    for name, timeout in (("gateway", settings.gateway_timeout), ("carrier", settings.carrier_timeout)):
        if settings.lease < LEASE_OVER_TIMEOUT * timeout:
            yield (
                "lease",
                f"ORDERKIT_LEASE is {settings.lease:g} s, too short for ORDERKIT_{name.upper()}_TIMEOUT of {timeout:g} s; "
                f"make it at least {LEASE_OVER_TIMEOUT * timeout:g}",
            )


def _deadline_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """A request that ends before its charge does is a 503 for an order that would have been 202."""
    if settings.request_timeout <= settings.gateway_timeout:
        yield (
            "request_timeout",
            f"ORDERKIT_REQUEST_TIMEOUT is {settings.request_timeout:g} s, and a charge may take ORDERKIT_GATEWAY_TIMEOUT, "
            f"{settings.gateway_timeout:g} s; make it longer than that",
        )


def _production_problems(settings: Settings) -> Iterator[tuple[str, str]]:
    """What production refuses: the setting, and a sentence about it."""
    if settings.env != "production":
        return
    secret = settings.secret_key.get_secret_value() if settings.secret_key else ""
    make_one = "make one: python -c 'import secrets; print(secrets.token_urlsafe(48))'"
    if not secret:
        yield "secret_key", f"ORDERKIT_SECRET_KEY is not set; {make_one}"
    elif _is_weak(secret):
        yield "secret_key", f"ORDERKIT_SECRET_KEY is weak; use at least {MIN_SECRET_CHARACTERS} random characters"
    if settings.carrier_webhook_secret is not None:
        for secret in settings.carrier_webhook_secret.get_secret_value().split(","):
            if _is_weak(secret.strip().removeprefix(webhook_signatures.PREFIX)):
                yield "carrier_webhook_secret", "ORDERKIT_CARRIER_WEBHOOK_SECRET is weak; take random bytes"
    if not settings.allow_test_providers:
        for name, value in (("gateway", settings.gateway), ("carrier", settings.carrier_name)):
            yield (
                name,
                f"{PREFIX}{name.upper()} is {value}, which takes no real money or parcels; "
                "set ORDERKIT_ALLOW_TEST_PROVIDERS=1 if that is what you want",
            )


def _is_weak(secret: str) -> bool:
    """Whether a secret is short, a pattern, or text that somebody was to replace."""
    threes = {secret[n : n + 3] for n in range(len(secret) - 2)}
    # abc, 321 and aaa are steps of a pattern, however many different ones there are.
    varied = [
        three for three in threes if not -1 <= ord(three[1]) - ord(three[0]) == ord(three[2]) - ord(three[1]) <= 1
    ]
    return (
        len(secret) < MIN_SECRET_CHARACTERS
        or len(varied) < MIN_SECRET_VARIETY
        or any(word in secret.lower() for word in NOT_IN_SECRETS)
    )
