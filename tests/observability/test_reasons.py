"""Reasons in words: of errors that libraries really raise, made as they make them."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import redis
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orderkit import reasons
from orderkit.http_client import Answer, NoAnswer, open_session, post


@pytest.fixture
def nobody() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def called(url: str) -> Answer | NoAnswer:
    async def call() -> Answer | NoAnswer:
        async with open_session(2.0) as http:
            return await post(http, url, b"{}", headers={})

    return asyncio.run(call())


def test_a_call_that_nobody_took_was_not_sent_and_says_why_in_words(nobody: int) -> None:
    refused = called(f"http://127.0.0.1:{nobody}/charges")
    assert refused == NoAnswer("connection refused", timed_out=False, unsent=True)
    assert isinstance(refused, NoAnswer)
    assert refused.failure == "ClientConnectorError"


def test_a_name_that_is_not_known_is_told_from_a_machine_that_is_away() -> None:
    assert reasons.in_words(socket.gaierror(-2, "Name or service not known")) == "its name is not known"


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:{}/x", "redis://:hunter2@127.0.0.1:{}/0"])
def test_stores_that_are_away_are_told_in_the_same_words(url: str, nobody: int) -> None:
    def connect() -> object:
        if url.startswith("redis"):
            return redis.Redis.from_url(url.format(nobody)).ping()
        return psycopg.connect(url.format(nobody), connect_timeout=2)

    with pytest.raises((psycopg.OperationalError, redis.ConnectionError)) as raised:
        connect()
    assert reasons.in_words(raised.value) == "connection refused"


def test_a_file_that_another_process_writes_to_is_locked(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "one.db")) as one, closing(sqlite3.connect(tmp_path / "one.db")) as other:
        one.execute("BEGIN IMMEDIATE")
        other.execute("PRAGMA busy_timeout=0")
        with pytest.raises(sqlite3.OperationalError) as raised:
            other.execute("BEGIN IMMEDIATE")
    wrapped = OperationalError("BEGIN IMMEDIATE", {}, raised.value)
    assert reasons.facts(wrapped) == {
        "reason": "locked: another process is writing to its file",
        "failure": "OperationalError",
    }


def test_a_file_that_cannot_be_opened_and_a_pool_without_a_connection_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError) as raised:
        sqlite3.connect(tmp_path / "no" / "where.db")
    assert reasons.in_words(raised.value) == "its file cannot be opened"
    assert reasons.in_words(PoolTimeout("QueuePool limit of size 10")) == "no connection was free in time"
    assert reasons.in_words(TimeoutError()) == "timed out"


def test_words_of_an_error_are_never_passed_on() -> None:
    told = reasons.in_words(RuntimeError("password=hunter2"))
    assert told == "an unexpected RuntimeError"
