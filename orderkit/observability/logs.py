"""Logs: one line for each thing that happened, for people or for machines, with the id of the request it happened for.

Modules write with loguru: `logger.bind(order_id=…).info("…")`. What libraries write with `logging` comes the same way.
Tracebacks show code and never the values in it, which may be secrets.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, TextIO

from loguru import logger

from orderkit.observability import context

if TYPE_CHECKING:
    from loguru import Message, Record

    from orderkit.settings import Settings

_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_TOO_CHATTY = ("alembic", "asyncio", "huey", "uvicorn", "uvicorn.access", "uvicorn.error")
"""Loggers of which only warnings are of interest; our own edge and commands say the rest, once."""


def configure(settings: Settings, stream: TextIO | None = None) -> None:
    """Logs of this process go to `stream`, stdout unless given, as the settings say. Replaces what was set before."""
    out = stream or sys.stdout
    render = _json_line if settings.log_format == "json" else _console_line(colours=out.isatty())

    def write(message: Message) -> None:
        out.write(render(message.record))
        out.flush()

    logger.remove()
    # No format: `render` makes the line from the record, exception included.
    logger.add(write, level=settings.log_level, format=lambda _record: "", diagnose=False, backtrace=False)
    _take_over_logging(settings.log_level)


def _json_line(record: Record) -> str:
    line: dict[str, Any] = {
        "at": record["time"].isoformat(),
        "level": record["level"].name,
        "logger": record["extra"].get("logger", record["name"]),
        "message": record["message"],
    }
    if request_id := context.request_id():
        line["request_id"] = request_id
    line |= {name: value for name, value in record["extra"].items() if name not in line}
    if error := _traceback(record):
        line["error"] = error
    return json.dumps(line, default=str) + "\n"  # ASCII, so that nothing in it can end the line


def _console_line(*, colours: bool) -> Any:
    def render(record: Record) -> str:
        level = record["level"].name
        shown = f"\033[{_COLOURS.get(level, '0')}m{level:<7}\033[0m" if colours else f"{level:<7}"
        facts = "".join(f" {name}={value}" for name, value in record["extra"].items() if name != "logger")
        request_id = context.request_id()
        line = f"{record['message']}{facts}{f' request_id={request_id}' if request_id else ''}"
        # Indented, because an error may quote a caller too.
        trace = "".join(f"  {_on_one_line(one)}\n" for one in _traceback(record).splitlines())
        return f"{record['time']:%Y-%m-%d %H:%M:%S.%f} {shown} {_on_one_line(line)}\n{trace}"

    return render


def _on_one_line(text: str) -> str:
    """Control characters and line ends as escapes: no one who is quoted in a log may write lines of it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _traceback(record: Record) -> str:
    error = record["exception"]
    return "".join(traceback.format_exception(error.type, error.value, error.traceback)) if error else ""


class _FromLogging(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        bound = logger.bind(logger=record.name).opt(exception=record.exc_info)
        bound.log(level, "{}", record.getMessage())


def _take_over_logging(level: str) -> None:
    logging.basicConfig(handlers=[_FromLogging()], level=level, force=True)
    for name in _TOO_CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
