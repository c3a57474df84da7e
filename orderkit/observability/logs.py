"""Logs: one line for each thing that happened, for people or for machines, with what it happened for.

Modules write with loguru: `logger.bind(attempt=…).info("…")`; ids of the request, the trace, the order and the user come from
`context`. What libraries write with `logging` comes the same way. Tracebacks show code and never the values in it, which may be
secrets. What looks like a secret, a card number or an address is left out of all of it.

docs/logs.md says what is in a line, and how to find things.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO
from uuid import UUID

from loguru import logger
from pydantic import TypeAdapter

from orderkit import clock
from orderkit.observability import context, errors, tracing
from orderkit.redaction import HIDDEN, is_secret, redacted

if TYPE_CHECKING:
    from loguru import Message

    from orderkit.settings import Settings

_COLOURS = {"DEBUG": "2", "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_TOO_CHATTY = ("alembic", "asyncio", "huey", "sqlalchemy", "uvicorn", "uvicorn.access", "uvicorn.error")
"""Loggers of which only warnings are of interest; our own edge and commands say the rest, once."""
_OF_OTHERS = logging.INFO
"""The least that is written of what libraries say, whatever the settings: what they say to debug is what they were given."""


class _Line(NamedTuple):
    at: datetime
    level: str
    logger: str
    message: str
    facts: Mapping[str, Any]
    trace: str = ""
    process: str = ""


class _Output(NamedTuple):
    """Where lines go, what they look like, the least level that is written, and what kind of process writes them."""

    stream: TextIO
    render: Callable[[_Line], str]
    least: int
    process: str

    def write(self, line: _Line, *, soon: bool = False) -> None:
        """With `soon` the line leaves when the event loop has done all that it has to do now, together with others."""
        self.stream.write(self.render(line))
        if not (soon and _leave_together(self.stream)):
            self.stream.flush()


_MEMBERS = TypeAdapter(dict[str, Any])
_output: _Output | None = None
_leaving: asyncio.AbstractEventLoop | None = None
"""The event loop that is going to flush."""


def _leave_together(stream: TextIO) -> bool:
    """Has the stream flushed once in this turn of the loop: a system call for each line costs an order 20 µs. False where
    there is no loop."""
    global _leaving
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    if _leaving is not loop:
        _leaving = loop
        loop.call_soon(_leave, stream)
    return True


def _leave(stream: TextIO) -> None:
    global _leaving
    _leaving = None
    stream.flush()


def configure(settings: Settings, stream: TextIO | None = None, *, process: str = "") -> None:
    """Logs of this process go to `stream`, stdout unless given, as the settings say. Replaces what was set before.

    `process` says on each line which part of orderkit it is: `api`, `worker`, `simulator`.
    """
    global _output
    out = stream or sys.stdout
    render = _json_line if settings.log_format == "json" else _console_line(colours=out.isatty())
    output = _output = _Output(out, render, logger.level(settings.log_level).no, process)

    def sink(message: Message) -> None:
        line = _of_loguru(message, process)
        output.write(line)
        if message.record["level"].no >= logging.ERROR:
            error = message.record["exception"]
            errors.report(line.message, line.logger, error.value if error else None, line.facts)

    logger.remove()
    # No format: the line is made from the record, exception included.
    logger.add(sink, level=settings.log_level, format=lambda _record: "", diagnose=False, backtrace=False)
    _take_over_logging(settings.log_level)


def write(level: str, message: str, facts: Mapping[str, Any], *, name: str = "orderkit.api") -> None:
    """One line, past loguru: for the edge, which writes one for each request and saves 20 µs an order.

    `facts` are its own words and numbers, and are written as they are. `name` is the logger's. Writes nothing where
    `configure` was not called.
    """
    if _output is not None and logging.getLevelNamesMapping()[level] >= _output.least:
        line = _Line(clock.now(), level, name, redacted(message), facts, process=_output.process)
        _output.write(line, soon=True)


def _of_loguru(message: Message, process: str) -> _Line:
    record = message.record
    extra = dict(record["extra"])
    name = str(extra.pop("logger", record["name"]))
    error = record["exception"]
    trace = _trace(error.value, error.traceback) if error and error.value else ""
    facts = {fact: _told(value, fact) for fact, value in extra.items()}
    at, level = record["time"].astimezone(UTC), record["level"].name
    return _Line(at, level, name, redacted(record["message"]), facts, trace, process)


def _told(fact: Any, name: str = "") -> Any:
    """`fact` as it may be written; what is neither a number nor a time nor an id is text, and hidden if its name says so."""
    if fact is None or isinstance(fact, bool | int | float | datetime | UUID):
        return fact
    if isinstance(fact, Mapping):
        return {redacted(str(name)): _told(value, str(name)) for name, value in fact.items()}
    if is_secret(name):
        return HIDDEN
    if isinstance(fact, list | tuple | set | frozenset):
        return [_told(value) for value in fact]
    return redacted(str(fact))


def _trace(error: BaseException, where: TracebackType | None) -> str:
    """The traceback, with what `error` says."""
    text = "".join(traceback.format_exception(type(error), error, where))
    return redacted(errors.without_input(text, error))


def _json_line(line: _Line) -> str:
    members: dict[str, Any] = {"at": line.at.isoformat(), "level": line.level, "logger": line.logger}
    if line.process:
        members["process"] = line.process
    members["message"] = line.message
    members |= _ids()
    facts = _facts(line)
    members |= facts if facts.keys().isdisjoint(members) else {n: facts[n] for n in facts.keys() - members.keys()}
    if line.trace:
        members["error"] = line.trace
    # ASCII, so that nothing in it can end the line.
    try:
        text = _MEMBERS.dump_json(members, ensure_ascii=True, fallback=str).decode().replace("\x7f", "\\u007f")
    except ValueError:  # half of a character; rare, and this takes three times as long
        text = json.dumps(members, default=str)
    return f"{text}\n"


def _ids() -> dict[str, str]:
    """Of the request and the trace, where there are such; of the span, where there are spans."""
    found = {}
    if request_id := context.request_id():
        found["request_id"] = request_id
    if trace_id := context.trace_id():
        found["trace_id"] = trace_id
        if tracing.active():
            found["span_id"] = context.span_id()
    return found


def _facts(line: _Line) -> Mapping[str, Any]:
    """What the line says, after what every line of the work under way does."""
    return {**bound, **line.facts} if (bound := context.facts()) else line.facts


def _console_line(*, colours: bool) -> Callable[[_Line], str]:
    def render(line: _Line) -> str:
        level = f"\033[{_COLOURS.get(line.level, '0')}m{line.level:<7}\033[0m" if colours else f"{line.level:<7}"
        facts = "".join(f" {name}={value}" for name, value in (*_facts(line).items(), *_ids().items()))
        text = f"{line.message}{facts}"
        # Indented, because an error may quote a caller too.
        trace = "".join(f"  {on_one_line(one)}\n" for one in line.trace.splitlines())
        return f"{line.at:%Y-%m-%dT%H:%M:%S.%f}Z {level} {on_one_line(text)}\n{trace}"

    return render


def on_one_line(text: str) -> str:
    """Control characters and line ends as escapes: no one who is quoted in a log may write lines of it."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


class _FromLogging(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        logger.bind(logger=record.name).opt(exception=record.exc_info).log(level, "{}", record.getMessage())


def _take_over_logging(level: str) -> None:
    least = max(_OF_OTHERS, logging.getLevelNamesMapping()[level])
    logging.basicConfig(handlers=[_FromLogging()], level=least, force=True)
    for name in _TOO_CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
