"""Of two processes that started together, the second could sign its tokens with an empty key.

The first made the file of the development key and then wrote it; whoever read in between found nothing and took it for the
key, and so did every later start, if the first had died there. The file now appears with the whole key in it, and what is
too short for a key is refused.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest

from orderkit.errors import ConfigurationError
from orderkit.settings import MIN_SECRET_CHARACTERS, Settings


def test_a_process_that_starts_while_another_makes_the_key_signs_with_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    others: list[str] = []
    original = secrets.token_urlsafe

    def at_the_worst_moment(length: int) -> str:
        monkeypatch.setattr(secrets, "token_urlsafe", original)
        others.append(Settings().signing_key)  # starts after we saw that there is no key, and before we wrote ours
        return original(length)

    monkeypatch.setattr(secrets, "token_urlsafe", at_the_worst_moment)
    mine = Settings().signing_key
    assert others == [mine]
    assert len(mine) >= MIN_SECRET_CHARACTERS


def test_a_key_file_without_a_key_is_not_signed_with() -> None:
    Path(".orderkit").mkdir()
    (Path(".orderkit") / "secret_key").write_text("")
    with pytest.raises(ConfigurationError, match="holds no secret key; delete it"):
        Settings().signing_key  # noqa: B018 - it is read for its error
