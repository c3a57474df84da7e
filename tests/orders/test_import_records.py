"""Reading the file itself: encodings, quoting, and broken lines that must cost no other line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderkit.errors import Invalid
from orderkit.orders.sources import records


def parsed(text: str) -> list[tuple[int, tuple[str, ...]]]:
    return [(one.line, one.fields) for one in records.parse(text, name="test").records]


@pytest.mark.parametrize("content", [b"a,b\n\xc2\xa3,2\n", b"\xef\xbb\xbfa,b\r\n\xc2\xa3,2\r\n", b"a,b\n\xa3,2"])
def test_utf8_with_or_without_mark_and_windows_1252_are_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    file = records.load(path)
    assert file.header == ("a", "b")
    assert [one.fields for one in file.records] == [("£", "2")]


def test_line_numbers_are_those_of_the_file_also_after_blank_and_quoted_lines() -> None:
    text = 'a,b\n1,2\n\n"x\ny",3\n4,5\n,\n'
    assert parsed(text) == [(2, ("1", "2")), (4, ("x\ny", "3")), (6, ("4", "5"))]


def test_a_quote_that_is_never_closed_costs_its_own_line_only() -> None:
    file = records.parse('a,b\n"1,2\n3,4\n5,"6" 7\n8,9\n', name="test")
    assert [(one.line, one.fields, one.fault) for one in file.records] == [
        (2, ('"1,2', ""), records.MALFORMED),
        (3, ("3", "4"), None),
        (4, ('5,"6" 7', ""), records.MALFORMED),
        (5, ("8", "9"), None),
    ]


def test_inches_in_a_field_are_no_quoting() -> None:
    assert parsed('a,b\nJAR 7" TALL,2\n') == [(2, ('JAR 7" TALL', "2"))]


def test_a_line_with_another_number_of_fields_is_filled_or_cut_and_says_so() -> None:
    file = records.parse("a,b,c\n1,2\n1,2,3,4,5\n", name="test")
    assert [(one.fields, one.fault) for one in file.records] == [
        (("1", "2", ""), records.WRONG_FIELDS),
        (("1", "2", "3"), records.WRONG_FIELDS + "; beyond it: 4,5"),
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"", "is empty"), (b"\n\n", "is empty"), (b'"a,b\n', "not well-formed"), (b"\x81\xff\x8d", "neither UTF-8 nor")],
)
def test_a_file_that_is_no_table_is_refused(content: bytes, what: str, tmp_path: Path) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(Invalid, match=what):
        records.load(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="No such file"):
        records.load(tmp_path / "none.csv")


@given(st.text(alphabet='ab,"\n\r ', max_size=60))
def test_no_line_with_something_on_it_is_lost(body: str) -> None:
    """Each physical line that is not blank begins a record, or continues a quoted field of one."""
    text = "x,y\n" + body
    found = records.parse(text, name="test").records
    begins = [one.line for one in found]
    assert begins == sorted(set(begins))
    kept = "".join("".join(one.fields) + (one.fault or "") for one in found)
    assert kept.count("a") >= body.count("a")
    assert kept.count("b") >= body.count("b")
