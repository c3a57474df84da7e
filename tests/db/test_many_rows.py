"""Writing and finding many rows at once: what goes in comes out, on both engines, however awkward."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Numeric, delete, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from orderkit import rows as many_rows
from orderkit.ids import new_id
from orderkit.rows import StaleRows, any_of, insert_rows, pairs_of, update_rows
from orderkit.schema import metadata
from tests.db.conftest import Scratch, rows_of

TABLE = Scratch.__table__
MODEL: Any = Scratch
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NAIVE = NOON.replace(tzinfo=None)

AWKWARD = [
    "",
    " ",
    "NULL",
    "null",
    '"',
    "'",
    "''",
    "\\",
    "\\\\",
    '\\"',
    "{",
    "}",
    "{}",
    '{"a","b"}',
    ",",
    "a,b",
    "line\nbreak",
    "\r\n",
    "\t",
    "%s",
    "%(id)s",
    "%%",
    ":name",
    "$1",
    "?",
    "--",
    "; DROP TABLE scratch",
    "Ünïcödé",
    "日本語",
    "🍵🫖",
    "e\u0301",
    "\u200b",
    "\u2028",
    "\x01\x1f\x7f",
    "\ufeff",
    "\U0010ffff",
]


def row(**values: Any) -> dict[str, Any]:
    blank = {"words": None, "big": None, "small": None, "flag": None, "at": None, "document": None}
    return {"id": new_id(), **blank, **values}


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_text_comes_back_as_it_went_in(scratch: Connection, text: str) -> None:
    document = {"key": text, text: [text, None, {text: 1}]}
    rows = [row(words=text, document=document), row(words=text + "x", document=text)]
    insert_rows(scratch, MODEL, rows)
    assert rows_of(scratch) == {one["id"]: one for one in rows}
    found = scratch.execute(select(TABLE.c.id).where(any_of(scratch, TABLE.c.words, [text])))
    assert found.scalars().all() == [rows[0]["id"]]
    update_rows(scratch, MODEL, [{"id": rows[1]["id"], "words": text, "document": [text]}])
    assert rows_of(scratch)[rows[1]["id"]] == {**rows[1], "words": text, "document": [text]}


def test_all_the_awkward_texts_in_one_statement_stay_apart(scratch: Connection) -> None:
    rows = [row(words=text, document=text) for text in AWKWARD]
    insert_rows(scratch, MODEL, rows)
    assert rows_of(scratch) == {one["id"]: one for one in rows}


def test_none_is_null_in_a_column_of_any_kind(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [row()])
    update_rows(scratch, MODEL, [row(id=one) for one in rows_of(scratch)])
    of_all = " AND ".join(f"{column.name} IS NULL" for column in TABLE.c if column.name != "id")
    assert scratch.execute(text(f"SELECT count(*) FROM scratch WHERE {of_all}")).scalar() == 1


_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | _words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_words, inner, max_size=3),
    max_leaves=8,
)
_instants = st.datetimes(NAIVE.replace(year=1800), NAIVE.replace(year=2400), timezones=st.just(UTC) | st.timezones())
_values = st.fixed_dictionaries(
    {
        "words": st.none() | _words,
        "big": st.none() | st.integers(-(2**63), 2**63 - 1),
        "small": st.none() | st.integers(-(2**31), 2**31 - 1),
        "flag": st.none() | st.booleans(),
        "at": st.none() | _instants,
        "document": _json,
    }
)


def in_utc(one: dict[str, Any]) -> dict[str, Any]:
    # Python calls a time within a change of clocks unequal to itself in another zone (PEP 495).
    return {**one, "at": one["at"] and one["at"].astimezone(UTC)}


# The fixture is not made anew for each example; the test empties the table itself.
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(before=st.lists(_values, max_size=4), after=st.lists(_values, min_size=4, max_size=4))
def test_whatever_goes_in_comes_out(
    scratch: Connection, before: list[dict[str, Any]], after: list[dict[str, Any]]
) -> None:
    scratch.execute(delete(TABLE))
    rows = [{"id": new_id(), **values} for values in before]
    insert_rows(scratch, MODEL, rows)
    assert rows_of(scratch) == {one["id"]: in_utc(one) for one in rows}
    changed = [{"id": one["id"], **values} for one, values in zip(rows, after, strict=False)]
    assert update_rows(scratch, MODEL, changed) == len(rows)
    assert rows_of(scratch) == {one["id"]: in_utc(one) for one in changed}


def test_an_instant_is_the_same_instant_in_any_zone_and_to_the_microsecond(scratch: Connection) -> None:
    at = datetime(2026, 7, 1, 1, 2, 3, 456789, timezone(timedelta(hours=5, minutes=45)))
    insert_rows(scratch, MODEL, [one := row(at=at)])
    found = rows_of(scratch)[one["id"]]["at"]
    assert found == at
    assert found.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(scratch: Connection) -> None:
    with pytest.raises((ValueError, StatementError), match="has no time zone"):
        insert_rows(scratch, MODEL, [row(at=NAIVE)])
    with pytest.raises(StatementError, match="has no time zone"):
        scratch.execute(TABLE.insert().values(id=new_id(), at=NAIVE))


def test_nothing_to_write_asks_the_database_nothing(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [])
    assert update_rows(scratch, MODEL, []) == 0
    assert rows_of(scratch) == {}


def test_existing_rows_are_skipped_only_when_told(scratch: Connection) -> None:
    first, second = row(words="first"), row(words="second")
    insert_rows(scratch, MODEL, [first])
    insert_rows(scratch, MODEL, [{**first, "words": "again"}, second], skip_existing=True)
    assert {one["words"] for one in rows_of(scratch).values()} == {"first", "second"}
    with pytest.raises(IntegrityError), scratch.begin_nested():
        insert_rows(scratch, MODEL, [row(), first])
    assert len(rows_of(scratch)) == 2


def test_each_row_is_updated_with_its_own_values(scratch: Connection) -> None:
    rows = [row(words=str(number), small=number) for number in range(200)]
    insert_rows(scratch, MODEL, rows)
    assert update_rows(scratch, MODEL, [{"id": one["id"], "big": one["small"] * 2} for one in rows]) == 200
    assert all(one["big"] == one["small"] * 2 for one in rows_of(scratch).values())


def test_a_column_to_add_is_added_to_and_others_are_set(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [one := row(big=10, small=1), other := row(big=20, small=1)])
    changes = [{"id": one["id"], "big": 5, "small": 7}, {"id": other["id"], "big": -20, "small": 8}]
    update_rows(scratch, MODEL, changes, add=("big",))
    found = rows_of(scratch)
    assert [(found[each["id"]]["big"], found[each["id"]]["small"]) for each in (one, other)] == [(15, 7), (0, 8)]


def test_rows_can_be_found_by_any_columns(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [row(words="a", small=1), row(words="a", small=2), row(words="b", small=1)])
    update_rows(scratch, MODEL, [{"words": "a", "small": 2, "big": 9}], by=("words", "small"))
    assert [(one["words"], one["small"]) for one in rows_of(scratch).values() if one["big"] == 9] == [("a", 2)]


def test_a_row_that_is_not_there_is_stale(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [one := row()])
    changes = [{"id": one["id"], "small": 1}, {"id": new_id(), "small": 1}]
    with pytest.raises(StaleRows, match="scratch: 1 of 2 rows"), scratch.begin_nested():
        update_rows(scratch, MODEL, changes)
    assert rows_of(scratch)[one["id"]]["small"] is None
    assert update_rows(scratch, MODEL, changes, exact=False) == 1


@pytest.mark.parametrize(
    ("guard", "met"),
    [
        ({"words": ("open",)}, 1),
        ({"words": ("open", "it's 100 %")}, 2),
        ({"words": ("open", "it's 100 %", "closed")}, 3),
        ({"words": None}, 1),
        ({"words": ("closed",), "document": None}, 1),
        ({"words": ("never",)}, 0),
        ({"words": ("OPEN",)}, 0),
        ({}, 4),
    ],
)
def test_a_guard_lets_only_those_rows_change_that_are_as_expected(
    scratch: Connection, guard: dict[str, tuple[str, ...] | None], met: int
) -> None:
    rows = [row(words=words) for words in ("open", "it's 100 %", "closed", None)]
    insert_rows(scratch, MODEL, rows)
    changes = [{"id": one["id"], "small": 1} for one in rows]
    assert update_rows(scratch, MODEL, changes, only_if=guard, exact=False) == met
    assert sum(one["small"] == 1 for one in rows_of(scratch).values()) == met
    if met < 4:
        with pytest.raises(StaleRows, match=f"{met} of 4"):
            update_rows(scratch, MODEL, changes, only_if=guard)


@pytest.mark.parametrize("column", ["id", "words", "big", "small", "at"])
def test_any_of_finds_those_and_no_others(scratch: Connection, column: str) -> None:
    rows = [
        row(words=f"{number},", big=2**40 + number, small=number, at=NOON + timedelta(number)) for number in range(5)
    ]
    insert_rows(scratch, MODEL, rows)
    wanted = [one[column] for one in rows[1:3]]
    found = scratch.execute(select(TABLE.c.id).where(any_of(scratch, TABLE.c[column], wanted))).scalars().all()
    assert set(found) == {one["id"] for one in rows[1:3]}


def test_any_of_nothing_is_nothing(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [row(words="")])
    assert scratch.execute(select(TABLE).where(any_of(scratch, TABLE.c.words, []))).all() == []
    columns = (TABLE.c.id, TABLE.c.words)
    assert scratch.execute(select(TABLE).where(pairs_of(scratch, columns, []))).all() == []


def test_pairs_are_found_as_pairs(scratch: Connection) -> None:
    rows = [row(words=words, small=small) for words in ('a"', "b,") for small in (1, 2)]
    insert_rows(scratch, MODEL, rows)
    wanted = pairs_of(scratch, (TABLE.c.words, TABLE.c.small), [('a"', 1), ("b,", 2), ("c", 1)])
    found = scratch.execute(select(TABLE.c.words, TABLE.c.small).where(wanted)).all()
    assert sorted(tuple(one) for one in found) == [('a"', 1), ("b,", 2)]


@pytest.mark.unit
@pytest.mark.parametrize("name", sorted(metadata.tables))
def test_many_rows_can_be_written_to_every_table(name: str) -> None:
    table = metadata.tables[name]
    assert "INSERT INTO" in many_rows._pg_statement((many_rows._Shape(table, tuple(table.c.keys())),))


@pytest.mark.unit
def test_a_column_type_without_an_array_form_is_told() -> None:
    with pytest.raises(TypeError, match=r"no array form is known for Numeric\(\)"):
        many_rows._form(Numeric())


def test_ids_stay_uuids(scratch: Connection) -> None:
    insert_rows(scratch, MODEL, [one := row()])
    assert [type(found) for found in rows_of(scratch)] == [UUID]
    assert one["id"] in rows_of(scratch)
