"""One line for each thing that happened, whoever wrote it and whatever is in it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from orderkit.observability import context, logs
from orderkit.settings import Settings


def configured(tmp_path: Path, **settings: Any) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, home=tmp_path, **settings), stream)
    return stream


def parsed(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_json_has_what_a_machine_asks_for(tmp_path: Path) -> None:
    stream = configured(tmp_path, log_format="json")
    logger.bind(order_id="o1", attempt=2).warning("{} declined", "card")
    (line,) = parsed(stream)
    at = datetime.fromisoformat(line.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert line == {
        "level": "WARNING",
        "logger": __name__,
        "message": "card declined",
        "order_id": "o1",
        "attempt": 2,
    }


class Counted(io.StringIO):
    """A stream that remembers how many lines it had whenever it was flushed."""

    def __init__(self) -> None:
        super().__init__()
        self.flushed: list[int] = []

    def flush(self) -> None:
        if not self.closed:
            self.flushed.append(self.getvalue().count("\n"))


def test_lines_of_one_turn_of_the_loop_leave_together_and_none_stays_behind(tmp_path: Path) -> None:
    stream = Counted()
    logs.configure(Settings(_env_file=None, home=tmp_path), stream)

    async def requests(*, wait: bool) -> None:
        for _ in range(3):
            logs.write("INFO", "GET / 200", {})
        if wait:
            await asyncio.sleep(0)

    asyncio.run(requests(wait=True))
    assert stream.flushed == [3]
    asyncio.run(requests(wait=False))  # a loop that ends at once
    asyncio.run(requests(wait=True))
    assert stream.flushed[-1] == 9
    logs.write("INFO", "without a loop", {})
    assert stream.flushed[-1] == 10


def test_facts_do_not_overwrite_what_every_line_has(tmp_path: Path) -> None:
    stream = configured(tmp_path, log_format="json")
    logger.bind(level="fake", message="fake", at="fake").info("real")
    (line,) = parsed(stream)
    assert (line["level"], line["message"]) == ("INFO", "real")
    assert line["at"] != "fake"


def test_lines_of_a_request_carry_its_id_and_others_do_not(tmp_path: Path) -> None:
    stream = configured(tmp_path, log_format="json")

    def request(name: str) -> None:
        context.begin(name, None)
        logger.info("at work")

    for name in ("a", "b"):
        thread = threading.Thread(target=request, args=(name,))
        thread.start()
        thread.join()
    logger.info("idle")
    assert [line.get("request_id") for line in parsed(stream)] == ["a", "b", None]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "evil", ["\n", "\r", "\r\n", "\x1b[2J", "\x85", "\u2028", "\x0b", "\0", "\x08", "\x7f", "\udcff"]
)
def test_nothing_that_is_quoted_can_write_a_line(tmp_path: Path, log_format: str, evil: str) -> None:
    stream = configured(tmp_path, log_format=log_format)
    logger.bind(sku=f"a{evil}b").info("looked for {}", f"x{evil}2026-01-01 INFO forged")
    logging.getLogger("library").warning("from %s", f"a{evil}b")
    logs.write("INFO", f"GET /{evil}", {"route": evil})
    assert len(stream.getvalue().splitlines()) == 3
    assert evil not in stream.getvalue().replace("\n", "", 3).replace("\n", evil if evil == "\n" else "")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_has_its_trace_without_the_values_in_it(tmp_path: Path, log_format: str) -> None:
    stream = configured(tmp_path, log_format=log_format)
    password = "hunter2"  # in the frame that a careless trace would print
    try:
        raise ValueError(f"{len(password)}\n2026-01-01 INFO forged")
    except ValueError:
        logger.exception("failed")
    assert "ValueError" in stream.getvalue()
    assert "test_logs.py" in stream.getvalue()
    assert not any(line.startswith("2026-01-01") for line in stream.getvalue().splitlines())
    assert "hunter2" not in stream.getvalue().replace('password = "hunter2"', "")


def test_libraries_speak_through_the_same_lines(tmp_path: Path) -> None:
    stream = configured(tmp_path, log_format="json")
    logging.getLogger("library").warning("%d left", 3)
    logging.getLogger("library").log(25, "between the levels")
    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("uvicorn.error").error("trouble")
    assert [(line["logger"], line["message"]) for line in parsed(stream)] == [
        ("library", "3 left"),
        ("library", "between the levels"),
        ("uvicorn.error", "trouble"),
    ]


def test_what_is_below_the_level_is_not_written(tmp_path: Path) -> None:
    stream = configured(tmp_path, log_level="ERROR", log_format="json")
    logger.warning("no")
    logging.getLogger("library").warning("no")
    logs.write("INFO", "no", {})
    logs.write("ERROR", "yes", {})
    logger.error("yes")
    assert [line["message"] for line in parsed(stream)] == ["yes", "yes"]


def test_people_read_one_plain_line(tmp_path: Path) -> None:
    stream = configured(tmp_path)
    ids = context.begin("mine", None)
    logs.write("INFO", "GET / 200", {"status": 200})
    trace = ids.traceparent.split("-")[1]
    assert stream.getvalue().endswith(f"Z INFO    GET / 200 status=200 request_id=mine trace_id={trace}\n")
    assert "\x1b" not in stream.getvalue()
