"""What is taken for JSON, and what is not."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError

from orderkit.api import json_body
from orderkit.errors import BodyMalformed, Invalid

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text("abc"), inner, max_size=5),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"{",
        b"{'a': 1}",
        b'{"a": 1,}',
        b'{"a": 1} x',
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 01}',
        b'{"a": "\x00"}',
        b'{"a": "\n"}',
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": [{"c": 1, "c": 1}]}}',
        b'{"\\u0061": 1, "a": 2}',
        b'{"a": "\xff"}',
        b'{"a": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"a": 1}',
        '{"a": 1}'.encode("utf-16"),
        '{"a": 1}'.encode("utf-16-le"),
        '{"a": 1}'.encode("utf-32"),
        b"[" * 33 + b"]" * 33,
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_not_json_is_malformed(body: bytes) -> None:
    with pytest.raises(BodyMalformed):
        json_body.parse(body)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"a": 1e400}', "#"),
        (b'{"a": -1e400}', "#"),
        (b'{"a": 1' + b"0" * 5000 + b"}", "#"),
        (b'{"a": "\\u0000"}', "#/a"),
        (b'{"a": ["x", {"b/c": "\\ud800"}]}', "#/a/1/b~1c"),
        (b'{"a": "\\udc00\\ud800"}', "#/a"),
        (b'{"\\ud800": 1}', "#"),
        (b'{"\\u0000": 1}', "#"),
    ],
)
def test_json_that_cannot_be_stored_is_invalid_where_it_is(body: bytes, pointer: str) -> None:
    with pytest.raises(Invalid) as caught:
        json_body.parse(body)
    assert [where for where, _ in caught.value.pointers] == [pointer]


@given(VALUES)
def test_what_json_writes_is_read_back(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert json_body.parse(text.encode()) == value


def test_a_pair_of_surrogates_is_one_character() -> None:
    assert json_body.parse(b'{"a": "\\ud83c\\udf75"}') == {"a": "🍵"}


def test_nesting_up_to_the_limit_is_read() -> None:
    assert json_body.parse(b"[" * 32 + b"]" * 32) is not None
    wide = json.dumps({"items": [{"sku": "a", "quantity": 1}] * 100}).encode()
    assert len(json_body.parse(wide)["items"]) == 100


class Sent(json_body.Body):
    number: Annotated[int, Field(ge=0, le=10)]
    text: json_body.OneLine = "x"


@pytest.mark.parametrize("number", [True, "5", 5.0, None, [5], {"a": 5}, -1, 11, 2**63, 2**200])
def test_only_an_integer_in_bounds_is_an_integer(number: Any) -> None:
    with pytest.raises(ValidationError):
        Sent.model_validate({"number": number})


@pytest.mark.parametrize(
    "text", ["", " ", "\u200b", "a\nb", "a\x1fb", "a\x85b", "a\u202eb", "a\u2028b", "x" * 201, 5, None]
)
def test_only_one_line_is_one_line(text: Any) -> None:
    with pytest.raises(ValidationError):
        Sent.model_validate({"number": 1, "text": text})


def test_an_unknown_member_is_refused_and_a_refusal_repeats_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        Sent.model_validate({"number": 1, "role": "s3cret"})
    refusal = json_body.invalid(caught.value)
    assert [where for where, _ in refusal.pointers] == ["#/role"]
    assert "s3cret" not in str(caught.value) + refusal.detail + str(refusal.pointers)


def test_a_body_read_by_hand_is_documented_without_references() -> None:
    class Line(json_body.Body):
        sku: str

    class Lines(json_body.Body):
        items: list[Line]

    documented = json_body.documented(Lines)
    assert "$" not in json.dumps(documented)
    schema = documented["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["items"]["items"]["properties"]["sku"]["type"] == "string"
