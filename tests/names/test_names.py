"""What can be a name, and what only looks like one, or like none."""

from __future__ import annotations

import pytest

from orderkit import names


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "O'Brien-Smith, Jr.",
        "李小龍",
        "山田 太郎",
        "محمد بن سلمان",
        "דוד בן־גוריון",
        "प्रिया शर्मा",
        "नारायण\u200dन्",  # a joiner between letters
        "می\u200cخواهم",  # and one that keeps them apart
        "Nguyễn Thị Minh Khai",
        "e\u0301va",  # a mark on a letter
        "👩\u200d👩\u200d👧\u200d👦",
        "❤\ufe0f",
        "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f",
        "\U0001fae8",  # newer than what Python 3.11 knows of Unicode
        "5",
        "-",
        "x" * names.MAX_LENGTH,
    ],
)
def test_letters_of_all_scripts_and_emoji_are_names(name: str) -> None:
    assert names.check(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "\u00a0\u2003\u3000",
        "\u200b",
        "\u200b\u200c\u200d\u2060\ufeff",
        "\u00ad",
        "\ufe0f",
        "\u0301",
        "\u034f \u180e",
        "\u3164",
        "\u115f\u1160",
        "\uffa0",
        "\u2800",
        "\U000e0041\U000e0042",
        "\U000e0fff",
    ],
    ids=ascii,
)
def test_where_nothing_is_to_be_seen_there_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="is blank"):
        names.check(name)


@pytest.mark.parametrize(
    "one",
    [
        *"\x00\t\n\r\x1b\x1f\x7f\x85\x9b",
        *"\u2028\u2029",
        *"\u202a\u202b\u202c\u202d\u202e",
        *"\u2066\u2067\u2068\u2069",
        *"\ud800\udcff",
    ],
    ids=ascii,
)
def test_what_breaks_or_turns_around_a_line_is_in_no_name(one: str) -> None:
    """Unicode TR 36 and "Trojan Source" (CVE-2021-42574): a name that reads as another, or changes what stands beside it."""
    for name in (one, f"Ada{one}", f"Ada {one}moc.elpmaxe"):
        with pytest.raises(ValueError, match="control characters"):
            names.check(name)


def test_a_name_has_an_end() -> None:
    with pytest.raises(ValueError, match="more than 200 characters"):
        names.check("x" * (names.MAX_LENGTH + 1))


@pytest.mark.parametrize("text", ["arrived broken", "kaputt 🍵", "order 1001 of 2026-11-21", "x" * names.MAX_LENGTH])
def test_a_reason_is_any_line(text: str) -> None:
    assert names.check_reason(text) == text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x" * (names.MAX_LENGTH + 1), "more than 200"),
        ("two\nlines", "control"),
        ("tur\u202ened", "control"),
        (" ", "blank"),
        ("", "blank"),
        ("4242 4242 4242 4242", "card number"),
    ],
    ids=ascii,
)
def test_what_is_no_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        names.check_reason(text)
