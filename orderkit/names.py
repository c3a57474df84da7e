"""What can be a name, or a reason: one line, with something to be seen in it, that does not turn around what stands beside it.

Names are shown to others: in lists, in logs, in terminals.
"""

from __future__ import annotations

import re
import unicodedata

from orderkit.redaction import looks_like_card

MAX_LENGTH = 200
"""Characters."""

_NEVER = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, other ends of lines, what reorders the text after it (Unicode TR 9), and halves of characters."""

_UNSEEN = {"Cc", "Cf", "Mn", "Zl", "Zp", "Zs"}
"""Categories that show nothing by themselves, such as spaces, joiners, and marks that have no letter to stand on."""

_BLANK = re.compile(r"[\u115f\u1160\u2800\u3164\uffa0\U000e0000-\U000e0fff]")
"""Letters and signs that are blank, and a block in which all that is not assigned yet is to be ignored."""


def check(text: str) -> str:
    """`text`, if it can be a name. Raises ValueError.

    Letters of all scripts, marks on them and joiners between them are fine; so are emoji.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"has more than {MAX_LENGTH} characters")
    if _NEVER.search(text):
        raise ValueError("has control characters")
    if all(unicodedata.category(one) in _UNSEEN or _BLANK.match(one) for one in text):
        raise ValueError("is blank")
    return text


def check_reason(text: str) -> str:
    """`text`, if it can be the reason of something that somebody did: like a name, and no card number. Raises ValueError.

    Reasons are kept for as long as what was done, and others read them.
    """
    check(text)
    if looks_like_card(text):
        raise ValueError("looks like a card number; never send one here")
    return text
