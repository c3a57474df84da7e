"""The services that orderkit talks to: the store of the task queue, providers, the mail server; and its own public address."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

from orderkit import reasons
from orderkit.doctor.findings import Finding, fine, warning, wrong
from orderkit.errors import ConfigurationError, Unavailable
from orderkit.mail import NotSent, open_mailer
from orderkit.settings import Settings
from orderkit.system.queue_store import require_store

WITHIN_S = 3.0
MOST_BYTES = 1_000_000


def queue(settings: Settings) -> Finding:
    try:
        return fine("queue", require_store(settings, WITHIN_S))
    except Unavailable as error:
        remedy = (
            "start Redis, or check ORDERKIT_REDIS_URL"
            if settings.redis_url is not None
            else "give the user that runs orderkit the right to write into ORDERKIT_HOME; a queue.db that is broken may be "
            "deleted, as all that it holds is in the database too"
        )
        return wrong("queue", error.detail, remedy)


def providers(settings: Settings) -> Iterator[Finding]:
    """Whether payment provider and carrier answer. Those in process always do."""
    for what, name in (("gateway", settings.gateway), ("carrier", settings.carrier_name)):
        if name == "builtin":
            yield fine(what, "builtin, in process; takes no real money or parcels")
            continue
        status, reason = _asked(f"{settings.simulator_url.rstrip('/')}/health")
        if status == 200:
            yield fine(what, f"the simulator answers at {_place(settings.simulator_url)}")
        else:
            remedy = "start it (orderkit simulate), or check ORDERKIT_SIMULATOR_URL"
            yield wrong(what, f"the simulator does not answer at {_place(settings.simulator_url)} ({reason})", remedy)


def mail(settings: Settings) -> Finding:
    """Whether the mail server lets us in. Sends nothing."""
    if settings.mail_url is None:
        told = f"files in {settings.home / 'outbox'}"
        if settings.env == "production":
            return warning("mail", told, "set ORDERKIT_MAIL_URL, or nobody gets a link to reset a password")
        return fine("mail", told)
    host = urlsplit(settings.mail_url.get_secret_value()).hostname
    try:
        open_mailer(settings).greet()
    except (NotSent, ConfigurationError) as error:
        return wrong(
            "mail", f"{host}: {error}", "check host, port, user and password in ORDERKIT_MAIL_URL, and its certificate"
        )
    return fine("mail", f"{host} lets us in")


def public_url(settings: Settings) -> Finding:
    """Whether users reach this API where links in mails lead."""
    place = _place(settings.public_url)
    if settings.links_lead_nowhere:
        return warning(
            "public URL",
            f"{place}; links in mails lead there",
            "set ORDERKIT_PUBLIC_URL to the https address that users reach",
        )
    if settings.env != "production" and "public_url" not in settings.model_fields_set:
        return fine("public URL", f"{place}, as nothing else is set")
    status, reason = _asked(f"{settings.public_url.rstrip('/')}/health/live")
    if status != 200:
        remedy = "start the API, or check ORDERKIT_PUBLIC_URL, its DNS and the proxy; from here it may rightly be out of reach"
        return warning("public URL", f"no API answers at {place} ({reason})", remedy)
    return fine("public URL", f"{place} leads to an API")


def _place(url: str) -> str:
    """Scheme, host and port: what else is in a URL may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.netloc.rpartition('@')[2])}"


def _asked(url: str) -> tuple[int, str]:
    """The status of a GET, 0 for none, and in words; of what is no JSON object, as a router's login page, 0 too."""
    status, body, reason = asked(url)
    if not status:
        return 0, reason
    try:
        known = isinstance(json.loads(body), dict)
    except ValueError:
        known = False
    return (status if known else 0), reason + ("" if known else ", and not of ours")


def asked(url: str, *, token: str | None = None) -> tuple[int, bytes, str]:
    """The status of a GET, 0 for none, the beginning of what came, and in words how it went."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=WITHIN_S)
        try:
            connection.request("GET", parts.path, headers={"Authorization": f"Bearer {token}"} if token else {})
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES)
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        return 0, b"", reasons.in_words(error)
    return answer.status, body, f"status {answer.status}"
