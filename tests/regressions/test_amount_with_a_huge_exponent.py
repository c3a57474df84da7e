"""`to_minor("1e999999", "GBP")` let decimal.Overflow escape, which is not the ValueError that callers turn into an answer.

Found by asking what the function raises for every text that an import may meet. Shifting the decimal point overflows before
the amount can be compared with the largest one.
"""

from __future__ import annotations

import pytest

from orderkit import money


@pytest.mark.parametrize("text", ["1e999999", "-1e999999", "1e400", "NaN", "Infinity", "ten", ""])
def test_what_is_no_amount_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        money.to_minor(text, "GBP")
