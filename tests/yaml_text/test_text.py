"""What is written as YAML is read back as what it was, by a reader that somebody else wrote."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from orderkit import yaml_text

# What YAML cannot have in any form are halves of surrogate pairs; JSON of ours has none either.
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text("ab :#-?'\"\n{}[]&*!|>%@`,.~=\\ 01"),
    st.sampled_from(["true", "No", "null", "~", "1.0", "0x1f", "1e3", "2026-03-01", "on", "=", "<<", "---", "...", ""]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


@given(VALUES)
def test_it_is_read_back_as_it_was(value: Any) -> None:
    assert read(yaml_text.text(value)) == value


@given(st.lists(st.text("abcdef.,:#-'`", min_size=1, max_size=12), min_size=20, max_size=60))
def test_prose_is_folded_and_stays_the_same_text(words: list[str]) -> None:
    prose = " ".join(words)
    written = yaml_text.text({"description": [{"text": prose}]})
    assert read(written) == {"description": [{"text": prose}]}
    if len(prose) > yaml_text.WIDTH:
        assert max(map(len, written.splitlines())) <= yaml_text.WIDTH + 6
    assert all(line == line.rstrip() for line in written.splitlines())


def test_it_is_to_be_read() -> None:
    value = {
        "paths": {"/orders/{order_id}": {"tags": ["orders"], "description": "One.\n\nTwo.", "responses": {"200": {}}}},
        "examples": [{"at": "2026-03-01", "limit": 3, "none": None, "$ref": "#/components/x"}],
    }
    assert (
        yaml_text.text(value)
        == """\
paths:
  /orders/{order_id}:
    tags:
      - orders
    description: |-
      One.

      Two.
    responses:
      "200": {}
examples:
  - at: "2026-03-01"
    limit: 3
    none: null
    $ref: "#/components/x"
"""
    )


@pytest.mark.parametrize("text", ["a: b", "a #b", "a:", "- a", " a", "a ", "\ta", "a\n", "{a", "yes", "7", "`a`", ""])
def test_what_would_mean_something_else_is_in_quotes(text: str) -> None:
    assert yaml_text.text(text).startswith('"')
