"""What a process that serves sets up before all else: its logs, its spans and where its errors are reported to."""

from __future__ import annotations

from orderkit.observability import errors, logs, tracing
from orderkit.settings import Settings


def start(settings: Settings, process: str) -> None:
    """Sets it up as the settings say. `process` is `api`, `worker` or `simulator`.

    Raises ConfigurationError where an extra that the settings need is not installed.
    """
    logs.configure(settings, process=process)
    tracing.configure(settings, process)
    errors.configure(settings, process)
