"""Every error leaves as a problem document that says enough and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from orderkit import errors
from orderkit.api import problems
from tests.client import Client

SECRET = "SELECT secret FROM users"


@pytest.fixture
def engine_name() -> str:
    """One engine will do: no error here comes from a database."""
    return "sqlite"


def raised_by_domains(kind: type[errors.OrderkitError] = errors.OrderkitError) -> Iterator[str]:
    for one in kind.__subclasses__():
        if "code" in vars(one):  # a kind of its own, and not only a name for a case of another
            yield one.code
        yield from raised_by_domains(one)


def test_the_table_has_every_code_and_no_other() -> None:
    assert problems.KINDS.keys() == {*raised_by_domains(), *problems.NOT_RAISED.values()}


def test_a_code_means_one_thing() -> None:
    codes = list(raised_by_domains())
    assert len(codes) == len(set(codes))
    assert not set(codes) & set(problems.NOT_RAISED.values())


def test_the_statuses_of_what_is_not_raised_are_those_of_their_codes() -> None:
    assert {status: problems.KINDS[code].status for status, code in problems.NOT_RAISED.items()} == {
        status: status for status in problems.NOT_RAISED
    }


@pytest.mark.parametrize(
    ("loc", "pointer"),
    [
        (("body",), "#"),
        (("body", "items", 0, "quantity"), "#/items/0/quantity"),
        (("body", "a/b~c d"), "#/a~1b~0c%20d"),
        (("query", "limit"), "#/query/limit"),
        (("body", "x" * 1000), "#/" + "x" * 198),
    ],
)
def test_a_place_is_a_json_pointer(loc: tuple[int | str, ...], pointer: str) -> None:
    assert problems.pointer(loc) == pointer


def test_every_code_is_explained_where_its_type_says(api: Client) -> None:
    for code, kind in problems.KINDS.items():
        answer = api.get(f"/problems/{code}")
        assert answer.status == 200
        assert answer.json() == {"code": code, **kind._asdict()}


def test_an_unknown_code_and_an_unknown_path_are_not_found(api: Client) -> None:
    for path in ("/problems/nonsense", "/nothing", "/products/x/y/z", "/static/docs/nothing", "//", "/products/"):
        answer = api.get(path)
        assert (answer.status, answer.code) == (404, "not_found")


def test_a_wrong_method_is_told_all_that_the_address_takes(api: Client) -> None:
    for method, path, allowed in [
        ("DELETE", "/products", "GET, HEAD, POST"),
        ("TRACE", "/products", "GET, HEAD, POST"),
        ("PUT", "/products/TEA", "GET, HEAD, PATCH"),
        ("GET", "/token", "POST"),
        ("POST", "/static/docs/swagger-ui.css", "GET, HEAD"),
        ("BREW", "/health/live", "GET, HEAD"),
    ]:
        answer = api.run(api.call(method, path))
        assert (answer.status, answer.code) == (405, "method_not_allowed")
        assert answer.headers["allow"] == allowed


@pytest.fixture
def broken(api: Client) -> dict[str, Exception]:
    """Put an error under "error" and GET /broken raises it."""
    what: dict[str, Exception] = {}

    async def fail() -> None:
        raise what["error"]

    api.app.add_api_route("/broken", fail)
    return what


DRIVER_ERROR = Exception("server closed the connection; password=hunter2")


@pytest.mark.parametrize(
    "error",
    [
        OperationalError(SECRET, {}, DRIVER_ERROR),
        InterfaceError(SECRET, {}, DRIVER_ERROR),
        PoolTimeout("QueuePool limit reached"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_database_that_does_not_answer_is_unavailable(
    api: Client, broken: dict[str, Exception], error: Exception
) -> None:
    broken["error"] = error
    answer = api.get("/broken")
    assert (answer.status, answer.code) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert b"hunter2" not in answer.body
    assert b"SELECT" not in answer.body


@pytest.mark.parametrize(
    "error",
    [RuntimeError(SECRET), IntegrityError(SECRET, {}, DRIVER_ERROR), AssertionError(SECRET), KeyError(SECRET)],
    ids=lambda error: type(error).__name__,
)
def test_what_nobody_expected_is_a_500_that_tells_nothing(
    api: Client, broken: dict[str, Exception], error: Exception
) -> None:
    broken["error"] = error
    answer = api.get("/broken", {"X-Request-ID": "mine"})
    assert (answer.status, answer.code) == (500, "internal_error")
    assert answer.headers["x-request-id"] == "mine"
    assert b"SELECT" not in answer.body
    assert b"hunter2" not in answer.body


def test_a_wrong_configuration_is_not_told_to_callers(api: Client, broken: dict[str, Exception]) -> None:
    broken["error"] = errors.ConfigurationError("the key file /etc/orderkit/key is missing")
    answer = api.get("/broken")
    assert (answer.status, answer.code) == (500, "configuration")
    assert b"/etc" not in answer.body


def test_facts_pointers_and_headers_of_an_error_are_in_the_answer(api: Client, broken: dict[str, Exception]) -> None:
    broken["error"] = errors.Invalid(
        "no \ud800 good", pointers=[("#/a", "wrong")], facts={"total": 5}, headers={"X-More": "1"}
    )
    answer = api.get("/broken")
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert answer.json()["errors"] == [{"pointer": "#/a", "detail": "wrong"}]
    assert answer.json()["total"] == 5
    assert answer.headers["x-more"] == "1"


def test_a_body_of_many_faults_gets_a_short_answer(api: Client) -> None:
    answer = api.post("/register", {f"unknown-{n}": n for n in range(1000)})
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert len(answer.json()["errors"]) == problems.MAX_POINTERS
