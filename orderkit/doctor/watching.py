"""What tells others how orderkit is: the loop of the worker by its metrics, the replica that reports are read from, and the
collector that spans go to.
"""

from __future__ import annotations

import os
import re
import socket
from importlib.util import find_spec
from urllib.parse import urlsplit

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from orderkit import clock, migrating, reasons
from orderkit.db import Database
from orderkit.doctor.findings import Finding, fine, warning, wrong
from orderkit.doctor.services import WITHIN_S, asked
from orderkit.errors import ConfigurationError
from orderkit.settings import Settings

STUCK_S = 60.0
"""The loop turns four times a second."""
BEHIND_S = 60.0
COLLECTOR = "http://localhost:4318"
_TURNED = re.compile(rb"(?m)^orderkit_worker_turn_timestamp_seconds (\S+)$")
_BEHIND = text(
    "SELECT pg_is_in_recovery() AS standby,"
    " CASE WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0"
    " ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END::float AS seconds"
)


def worker(settings: Settings) -> Finding:
    """The heartbeat of the worker's loop, where its port is known. Without one, what is left undone tells as much, but later."""
    host, port = settings.worker_metrics_host, settings.worker_metrics_port
    if not port:
        told = (
            "its loop is not looked at: ORDERKIT_WORKER_METRICS_PORT is not set; what it leaves undone is told as work"
        )
        return fine("worker", told)
    here = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - what it listens on, to be asked here
    token = settings.metrics_token.get_secret_value() if settings.metrics_token else None
    shown = f"[{here}]" if ":" in here else here
    status, body, reason = asked(f"http://{shown}:{port}/metrics", token=token)
    if status != 200:
        return warning(
            "worker",
            f"none answers at {shown} port {port} ({reason})",
            "start one: orderkit worker; if it runs elsewhere, ask there",
        )
    found = _TURNED.search(body)
    age = clock.now().timestamp() - float(found[1]) if found else 0.0
    if not found or float(found[1]) == 0:
        return warning("worker", "it answers, and its loop has not got through a turn yet", "look again in a minute")
    if age > STUCK_S:
        remedy = "look into its log: it says what its loop goes on without; docs/runbook.md, worker-stuck"
        return wrong("worker", f"its loop last got through a turn {age:,.0f} s ago", remedy)
    return fine("worker", f"its loop got through a turn {max(age, 0.0):.1f} s ago")


def replica(settings: Settings) -> Finding:
    """Whether reports can be read from the replica, and how far behind it is."""
    if settings.replica_url is None:
        return fine("replica", "none; reports are read from the database itself")
    remedy = "check ORDERKIT_REPLICA_URL and the standby; until then reports are read from the database itself"
    impatient = settings.model_copy(
        update={"slow_query": 0.0, "db_pool_size": 1, "db_timeout": min(WITHIN_S, settings.db_timeout)}
    )
    database = Database(impatient, url=settings.replica_url)
    try:
        migrating.require_current(database)
        if database.is_sqlite:
            return fine("replica", "answers; how far behind it is cannot be told")
        with database.reading() as session:
            found = session.connection().execute(_BEHIND).one()
    except ConfigurationError as error:
        return wrong("replica", error.detail.partition(";")[0], remedy)
    except SQLAlchemyError as error:
        return wrong("replica", f"does not answer ({reasons.in_words(error)})", remedy)
    finally:
        database.dispose()
    if not found.standby:
        return warning("replica", "it is no standby: how far behind it is cannot be told", remedy.partition(";")[0])
    if (found.seconds or 0) > BEHIND_S:
        return warning(
            "replica", f"{found.seconds:,.0f} s behind", "look why it does not keep up; reports say how old they are"
        )
    return fine("replica", f"a standby, {found.seconds or 0:.1f} s behind")


def tracing(settings: Settings) -> Finding:
    """Whether spans get to where they are to go."""
    if settings.tracing == "off":
        return fine("tracing", "off")
    if find_spec("opentelemetry.sdk" if find_spec("opentelemetry") else "opentelemetry") is None:
        return wrong("tracing", "the extra is not installed", "run: pip install 'orderkit[otel]'")
    if settings.tracing == "console":
        return fine("tracing", "spans go to stderr")
    named = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    parts = urlsplit(named or COLLECTOR)
    try:
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((host, port), timeout=WITHIN_S).close()
    except (OSError, ValueError) as error:
        remedy = "start the collector, or set OTEL_EXPORTER_OTLP_ENDPOINT to where it is; without it spans are lost, and no order"
        return warning("tracing", f"no collector at {parts.hostname} ({reasons.in_words(error)})", remedy)
    return fine("tracing", f"a collector takes connections at {host} port {port}")
