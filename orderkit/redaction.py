"""What is never written down: tokens, keys, card numbers and addresses of people, known by what they look like, and whatever
stands behind the name of a secret.

A second line. The first is that nothing writes down what it was sent; but a path, and the message of a library's error, are
made of that.
"""

from __future__ import annotations

import re

CARD_LENGTHS = {1: (15,), 2: (16,), 3: (14, 15, 16), 4: (13, 16, 19), 5: (16,), 6: (16, 17, 18, 19)}
"""How long card numbers are, by their first digit (ISO/IEC 7812-1). Of any 16 digits, two in three would hold some 13 to 19
that pass for a card by the check digit alone."""

UNEXAMINED = 64
"""A longer number than this is left out as it is, so that nobody can make a log line cost a second."""

_ESCAPED = r"\\(?:u[\da-f]{4}|x[\da-f]{2})"
_ESCAPE = re.compile(_ESCAPED)
_UNSEEN = rf"(?:[\u00ad\u034f\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]|{_ESCAPED}){{0,4}}"
"""Characters of no width, as themselves or as `repr` and JSON have them: what is on both sides looks like one number."""
_BETWEEN = rf"{_UNSEEN}(?:(?:[\s._/\u2010-\u2015\u2212-]|\\[nrt]){_UNSEEN}){{0,2}}"
"""What people put between groups of digits."""

# Each of these looks at a character a bounded number of times, whatever it is sent: paths of 64 KB arrive.
_DIGITS = re.compile(rf"\d(?:{_BETWEEN}\d){{12,}}")
_PLAIN_DIGITS = re.compile(r"\d(?:[\s._/-]{0,2}\d){12,}")
"""The same for text in which there is nothing else, which is most of it, in a third of the time."""
# One id in a hundred has 13 digits in a row, and what a log is searched for must stay in it.
_ID = r"(?=[\d-]{0,35}[a-f])[\da-f]{8}-?(?:[\da-f]{4}-?){3}[\da-f]{12}(?![\da-f])"
_ID_OR_DIGITS = re.compile(rf"{_ID}|(?P<digits>{_DIGITS.pattern})", re.IGNORECASE)
_TOKEN = re.compile(
    r"ok[rk]_[\w-]{20,}|whsec_[\w+/=-]{4,}|(?<![A-Za-z0-9])[rs]k[_-][\w-]{8,}|eyJ[\w.-]{10,}"
    r"|(\b(?i:bearer)\s+)[\w.~+/-]{8,}=*"
)
_NAME = (
    r"(?:[\w.-]{0,40}[_.-])?"
    r"(?:password|passwd|passphrase|secret|token|authorization|cookie|api[_-]?key|card[_-]?number|cvc|cvv)"
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)
_SCHEME = r"(?:(?:basic|bearer|digest)\s+)?"
# What the name of a secret is given: quoted, or up to the end of the word; after a scheme of HTTP, the word behind that.
_NAMED = re.compile(
    rf"""(?<![\w.-])({_NAME}(?:["']|%22)?\s{{0,3}}[=:]\s{{0,3}}(?!{_SCHEME}\[hidden\]){_SCHEME})"""
    r"""(?:"(?:[^"\\]|\\.)*+"?|'(?:[^'\\]|\\.)*+'?|[^\s,;&"'}\])]++)""",
    re.IGNORECASE,
)
_WORDS = re.compile(r"pass|secret|token|authori|cookie|key|number|cvc|cvv", re.IGNORECASE)
HIDDEN = "[hidden]"
_IN_ADDRESS = r"""[^\s@%/\\<>()\[\]{}"',;:=&?|]"""
_ADDRESS = re.compile(rf"(?<=://)[^\s/]*@|(?<!{_IN_ADDRESS}){_IN_ADDRESS}++(?:@|%40)[\w.-]+")


def redacted(text: str) -> str:
    """`text` with a word in brackets in the place of each token, key, card number and address. 1 µs where there is none.

    What is given is final: redacted once more, it stays as it is.
    """
    while (less := _looked_through(text)) != text:
        text = less
    return text


def _looked_through(text: str) -> str:
    if ("=" in text or ":" in text) and _WORDS.search(text):
        text = _NAMED.sub(rf"\1{HIDDEN}", text)
    if (
        "ok" in text
        or "k_" in text
        or "k-" in text
        or "eyJ" in text
        or "sec" in text
        or "earer" in text
        or "EARER" in text
    ):
        text = _TOKEN.sub(r"\1[token]", text)
    if "@" in text or "%40" in text:
        text = _ADDRESS.sub("[address]", text)
    if (_PLAIN_DIGITS if text.isascii() and "\\" not in text else _DIGITS).search(text):
        text = _ID_OR_DIGITS.sub(_without_card, text)
    return text


def is_secret(name: str) -> bool:
    """Whether a fact of that name is one, whatever it looks like."""
    return _SECRET_NAME.fullmatch(name) is not None


def _without_card(found: re.Match[str]) -> str:
    digits = found["digits"]
    return "[card number]" if digits and (len(digits) > UNEXAMINED or looks_like_card(digits)) else found[0]


def looks_like_card(text: str) -> bool:
    """Whether a card number is in it, by length and check digit (Luhn), however it is grouped and whatever is beside it."""
    return any(
        _luhn(digits[start : start + length])
        for found in _DIGITS.finditer(text)
        for digits in ([int(one) for one in _ESCAPE.sub("", found.group()) if one.isdecimal()],)
        for start, first in enumerate(digits)
        for length in CARD_LENGTHS.get(first, ())
        if start + length <= len(digits)
    )


def _luhn(digits: list[int]) -> bool:
    doubled = (digit * 2 if n % 2 else digit for n, digit in enumerate(reversed(digits)))
    return sum(n - 9 if n > 9 else n for n in doubled) % 10 == 0
