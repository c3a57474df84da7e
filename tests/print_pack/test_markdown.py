"""Markdown as both printers take it: tables, links, headings."""

from __future__ import annotations

import re

import pytest

from orderkit.errors import Invalid
from orderkit.print_pack import markdown

pytestmark = pytest.mark.unit


def shares(text: str) -> list[int]:
    return [len(one) for one in re.findall(r"-+", text.split("\n")[1])]


def test_a_wide_table_gives_each_column_room_for_what_is_in_it() -> None:
    table = f"| a | told |\n|---|--:|\n| short | {'many words ' * 12} |"
    few, many = shares(markdown.fitted(table))
    assert few < many
    assert few >= len("short")
    assert markdown.fitted(table).split("\n")[1].endswith("-:|")


def test_a_table_that_fits_a_line_stays() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |"
    assert markdown.fitted(table) == table


def test_what_looks_like_a_table_in_code_stays() -> None:
    code = f"```\n| a | b |\n|---|---|\n| {'x ' * 60} | 2 |\n```"
    assert markdown.fitted(code) == code


def test_a_longest_word_has_room_where_there_is_any() -> None:
    word = "SECONDS" * 4
    table = f"| {word} | b |\n|---|---|\n| x | {'y ' * 80} |"
    assert shares(markdown.fitted(table))[0] >= len(word)


def test_links_out_of_the_pack_become_what_they_say() -> None:
    text = "[a](../gone.md), [b](b.md#x), [c](https://example.com/c), [d](#here), ![e](e.png)"
    told = markdown.without_dead_links(text, "adrs/a.md", {"adrs/b.md"})
    assert told == "a, [b](b.md#x), [c](https://example.com/c), [d](#here), ![e](e.png)"


def test_links_in_code_stay() -> None:
    code = "```\n[a](gone.md)\n```"
    assert markdown.without_dead_links(code, "a.md", set()) == code


def test_links_follow_a_file_that_moves() -> None:
    where = {"docs/decisions/0002-b.md": "adrs/0002-b.md", "docs/runbook.md": "runbook.md"}
    text = "[b](0002-b.md#x) and [r](../runbook.md) and [f](https://example.com)"
    told = markdown.relocated(text, "docs/decisions/0001-a.md", "adrs/0001-a.md", lambda path: where[path])
    assert told == "[b](0002-b.md#x) and [r](../runbook.md) and [f](https://example.com)"


def test_a_part_of_a_page_loses_its_title_and_its_headings_go_down() -> None:
    assert markdown.deeper("# Title\n\ntext\n\n## One\n\n```sh\n# no heading\n```") == (
        "text\n\n### One\n\n```sh\n# no heading\n```"
    )


def test_from_a_heading_on() -> None:
    assert markdown.from_heading("a\n### b\nc\n", "b") == "### b\nc\n"
    with pytest.raises(Invalid, match="no heading"):
        markdown.from_heading("a", "b")


def test_a_text_that_is_no_markdown_is_told_as_it_is() -> None:
    assert markdown.escaped("a_b *c* | <d>\n e") == r"a\_b \*c\* \| \<d\> e"
