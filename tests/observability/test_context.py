"""What is worked for is known to all that work for it, in whichever thread, and to nobody else."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from orderkit.gatherer import Gatherer
from orderkit.http_client import NoAnswer, post
from orderkit.ids import new_id
from orderkit.observability import context, logs
from orderkit.settings import Settings

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def test_what_a_thread_finds_out_is_known_to_the_request_and_not_to_the_next() -> None:
    async def request() -> dict[str, object]:
        context.begin(None, None)
        await asyncio.to_thread(lambda: context.bind(order_id="o1"))
        context.bind(user_id=None, api_key_id="", attempt=0)  # nothing that is not known is said
        return dict(context.facts())

    async def both() -> list[dict[str, object]]:
        first = await asyncio.create_task(request())
        context.begin(None, None)
        return [first, dict(context.facts())]

    assert asyncio.run(both()) == [{"order_id": "o1"}, {}]


def test_nothing_is_bound_where_no_work_is_under_way() -> None:
    def outside() -> None:
        context.bind(order_id="o1")
        found.append(dict(context.facts()))

    found: list[dict[str, object]] = []
    thread = threading.Thread(target=outside)
    thread.start()
    thread.join()
    assert found == [{}]


def test_every_line_says_what_is_bound_and_a_line_s_own_facts_come_first(tmp_path: Path) -> None:
    stream = io.StringIO()
    logs.configure(Settings(_env_file=None, home=tmp_path, log_format="json"), stream, process="worker")
    order_id = new_id()
    with context.continued(SENT, order_id=order_id, attempt=1):
        logger.bind(attempt=2, access_token="abc", token=7).info("at work")
    line = json.loads(stream.getvalue())
    assert line["process"] == "worker"
    assert (line["trace_id"], line["order_id"], line["attempt"]) == (TRACE, str(order_id), 2)
    assert (line["access_token"], line["token"]) == ("[hidden]", 7), "a number, such as a fencing token, is no secret"
    assert "span_id" not in line, "without spans there are none to be found by it"


def test_a_call_says_whose_it_is() -> None:
    sent: list[dict[str, str]] = []

    class Session:
        def post(self, *_arguments: object, headers: dict[str, str], **_named: object) -> None:
            sent.append(headers)
            raise OSError

    async def call() -> NoAnswer:
        ids = context.begin("mine", SENT)
        session: Any = Session()
        failed = await post(session, "http://x", b"{}", headers={"Idempotency-Key": "k"})
        assert isinstance(failed, NoAnswer)
        assert sent[0]["traceparent"] == ids.traceparent
        return failed

    asyncio.run(call())
    assert sent[0]["X-Request-ID"] == "mine"
    assert sent[0]["Idempotency-Key"] == "k"
    assert sent[0]["traceparent"].split("-")[1] == TRACE


def test_a_list_of_one_is_worked_on_for_whoever_sent_it_and_a_longer_one_for_nobody() -> None:
    held, go = threading.Event(), threading.Event()

    def act(items: Sequence[str]) -> list[str]:
        if items == ["first"]:
            held.set()
            go.wait(10)
        return [context.request_id()] * len(items)

    async def run() -> list[str]:
        gatherer: Gatherer[str, str] = Gatherer("test", act)

        async def submit(item: str) -> str:
            context.begin(item, None)
            return await gatherer.submit(item)

        first = asyncio.create_task(submit("first"))
        await asyncio.to_thread(held.wait, 10)
        rest = [asyncio.create_task(submit(item)) for item in ("second", "third")]
        await asyncio.sleep(0)
        go.set()
        found = await asyncio.gather(first, *rest)
        gatherer.close()
        return found

    assert asyncio.run(run()) == ["first", "", ""]
