"""Examines an installation: its settings first, then all that they name. Changes nothing, and goes on whatever is wrong."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator

from orderkit import __version__
from orderkit.doctor import database, machine, production, services, watching
from orderkit.doctor.findings import Finding, fine, unknown, warning, wrong
from orderkit.settings import ENV_FILE, Judged, Settings, judge_settings

Check = Callable[[Settings], Finding | Iterable[Finding]]

CHECKS: tuple[tuple[tuple[str, ...], tuple[str, ...], Check], ...] = (
    (("home",), ("home",), machine.home),
    (("disk",), ("home",), machine.disk),
    (("secret",), ("home", "secret_key"), machine.secret),
    (("open files",), (), lambda _settings: machine.open_files()),
    (("database", *database.AFTER), ("database_url", "home"), database.check),
    (("worker",), ("worker_metrics_port", "worker_metrics_host"), watching.worker),
    (("replica",), ("replica_url",), watching.replica),
    (("queue",), ("redis_url", "home"), services.queue),
    (("gateway", "carrier"), ("gateway", "carrier", "simulator_url"), services.providers),
    (("mail",), ("mail_url", "mail_from"), services.mail),
    (("public URL",), ("public_url",), services.public_url),
    (("tracing",), ("tracing",), watching.tracing),
)
"""What is checked, the settings that it depends on, and how."""


def examine() -> Iterator[Finding]:
    """Everything, one after the other, as it is found."""
    yield fine("version", f"orderkit {__version__} on Python {platform.python_version()}, {platform.system()}")
    judged = judge_settings()
    yield from _settings(judged)
    for names, needed, check in CHECKS:
        if replaced := [one for one in needed if one in judged.replaced]:
            told = " and ".join(f"ORDERKIT_{one.upper()}" for one in replaced)
            yield from (unknown(name, f"{told} is wrong") for name in names)
            continue
        found = check(judged.settings)
        yield from [found] if isinstance(found, Finding) else found
    for told, remedy in production.notes(judged.settings):
        yield warning("production", told, remedy)


def _settings(judged: Judged) -> Iterator[Finding]:
    if not judged.problems:
        yield fine(
            "settings",
            f"{judged.settings.env}, {judged.settings.gateway} gateway, {judged.settings.carrier_name} carrier",
        )
    for problem in judged.problems:
        yield wrong(
            "settings",
            problem,
            f"correct it in the environment or in {ENV_FILE}; orderkit config show lists all settings",
        )
