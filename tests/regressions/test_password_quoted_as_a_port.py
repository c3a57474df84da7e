"""A database password with an unescaped @ and : in it was printed, in part, by the error about the URL.

What follows the colon was taken for a port, and the message of `int()` quotes what is no number.
"""

from __future__ import annotations

import pytest

from orderkit.errors import ConfigurationError
from orderkit.settings import load_settings


def test_a_url_that_cannot_be_read_is_not_quoted() -> None:
    with pytest.raises(ConfigurationError, match="ORDERKIT_DATABASE_URL is not a database URL") as raised:
        load_settings(database_url="postgresql://user:p@ss:hunter2@host/name")
    assert "hunter2" not in raised.value.detail
