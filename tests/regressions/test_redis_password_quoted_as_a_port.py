"""A Redis password with an unescaped / in it was printed, in part, by the error about the URL.

What came before the slash was taken for a port, and the message quoted it as no number.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from orderkit.errors import ConfigurationError
from orderkit.settings import Settings
from orderkit.worker.queue import open_queue


def test_a_redis_url_that_cannot_be_read_is_not_quoted(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, home=tmp_path, redis_url="redis://user:hunter/two@host")
    with pytest.raises(ConfigurationError, match="ORDERKIT_REDIS_URL cannot be read") as raised:
        open_queue(settings)
    assert "hunter" not in raised.value.detail
    assert "two" not in raised.value.detail
