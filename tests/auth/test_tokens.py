"""Only tokens that this installation made, for this purpose, and not too long ago."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import jwt
import pytest

from orderkit import clock
from orderkit.auth import tokens
from orderkit.auth.signing_keys import Key
from orderkit.auth.tokens import Tokens, UnknownKey
from orderkit.errors import Unauthenticated
from orderkit.settings import Settings

KEY = "a secret key of more than thirty-two characters"
USER = uuid4()


SESSION = uuid4()
KEY_ID = str(uuid4())
WHOSE = (USER, SESSION)


@pytest.fixture
def mine() -> Tokens:
    made = Tokens(Settings(_env_file=None), lambda: [Key(KEY_ID, KEY.encode())])
    asyncio.run(made.reload())
    return made


def claims(**other: Any) -> dict[str, Any]:
    at = int(clock.now().timestamp())
    good = {
        "iss": "orderkit",
        "aud": "orderkit",
        "sub": str(USER),
        "sid": str(SESSION),
        "typ": "access",
        "iat": at,
        "exp": at + 60,
    }
    return {name: value for name, value in (good | other).items() if value is not ...}


def signed(payload: dict[str, Any], key: str = KEY, algorithm: str = "HS256", **header: Any) -> str:
    return jwt.encode(payload, key, algorithm=algorithm, headers={"kid": KEY_ID} | header)


def test_what_is_issued_is_verified(mine: Tokens) -> None:
    issued = mine.issue(USER, SESSION)
    assert issued.expires_in == 15 * 60
    assert mine.verify(issued.token)[:2] == WHOSE
    assert mine.verify(issued.token)[:2] == WHOSE
    assert mine.verify(signed(claims()))[:2] == WHOSE


def test_a_token_says_no_more_than_whose_it_is(mine: Tokens) -> None:
    told = jwt.decode(mine.issue(USER, SESSION).token, options={"verify_signature": False})
    assert told.keys() == {"iss", "aud", "sub", "sid", "typ", "iat", "exp"}
    assert (told["sub"], told["sid"]) == (str(USER), str(SESSION))
    assert told["exp"] - told["iat"] == 15 * 60


@pytest.mark.parametrize(
    "other",
    [
        {"iss": "elsewhere"},
        {"iss": ...},
        {"aud": "elsewhere"},
        {"aud": ...},
        {"aud": []},
        {"sub": "admin"},
        {"sub": ...},
        {"sub": 5},
        {"sid": "a session"},
        {"sid": ...},
        {"sid": 5},
        {"sid": None},
        {"typ": "refresh"},
        {"typ": ...},
        {"typ": None},
        {"typ": ["access"]},
        {"iat": ...},
        {"exp": ...},
        {"exp": "never"},
        {"exp": True},
        {"exp": None},
        {"exp": 0},
        {"exp": 1e300},
        {"exp": float("nan")},
        {"nbf": 2**40},
        {"nbf": "x"},
    ],
    ids=str,
)
def test_wrong_claims_are_refused(mine: Tokens, other: dict[str, Any]) -> None:
    """OWASP ASVS 5.0 V9.2.1 to V9.2.4."""
    with pytest.raises(Unauthenticated):
        mine.verify(signed(claims(**other)))


@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
@pytest.mark.filterwarnings("ignore:.*key:jwt.warnings.InsecureKeyLengthWarning")
def test_another_algorithm_is_refused(mine: Tokens, algorithm: str) -> None:
    """OWASP ASVS 5.0 V9.1.2."""
    token = signed(claims(), algorithm=algorithm)
    with pytest.raises(Unauthenticated):
        mine.verify(token)


def test_another_key_is_refused(mine: Tokens) -> None:
    """OWASP ASVS 5.0 V9.1.1."""
    with pytest.raises(Unauthenticated):
        mine.verify(signed(claims(), key="b" * 40))


def part(value: Any) -> str:
    return part_of(json.dumps(value).encode())


def part_of(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


@pytest.mark.parametrize("name", ["none", "None", "NONE", "", "RS256", "ES256", None, 5])
def test_an_unsigned_token_is_refused(mine: Tokens, name: Any) -> None:
    """OWASP ASVS 5.0 V9.1.2."""
    head, body, signature = part({"alg": name, "typ": "JWT"}), part(claims()), signed(claims()).split(".")[2]
    for token in (f"{head}.{body}.", f"{head}.{body}", f"{head}.{body}.{signature}"):
        with pytest.raises(Unauthenticated):
            mine.verify(token)


def test_keys_that_a_token_brings_along_are_not_looked_at(mine: Tokens) -> None:
    """OWASP ASVS 5.0 V9.1.3."""
    for header in ({"jku": "http://127.0.0.1:1/"}, {"jwk": {"kty": "oct", "k": "AA"}}, {"x5u": "http://127.0.0.1:1/"}):
        assert mine.verify(signed(claims(), **header))[:2] == WHOSE
        with pytest.raises(Unauthenticated):
            mine.verify(signed(claims(), key="\0" * 40, **header))


@pytest.mark.parametrize(
    "kid",
    [
        "../../dev/null",
        "",
        "0199b2d0-7c5e-7a3f-9d3e-0a6f3c1b2d4e",
        "second",
        None,
        5,
        ["first"],
        {"first": 1},
        "' OR 1=1 --",
        "\0",
    ],
)
def test_a_key_that_is_not_known_is_none(mine: Tokens, kid: Any) -> None:
    """OWASP ASVS 5.0 V9.1.3."""
    head = part({"alg": "HS256", "typ": "JWT", "kid": kid})
    _head, body, signature = signed(claims()).split(".")
    for key in (KEY, "", "\0" * 40):
        signature = part_of(hmac.digest(key.encode(), f"{head}.{body}".encode(), "sha256"))
        with pytest.raises(Unauthenticated):
            mine.verify(f"{head}.{body}.{signature}")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "é.é.é", "x" * 10_000, "\0"])
def test_nonsense_is_refused(mine: Tokens, token: str) -> None:
    with pytest.raises(Unauthenticated):
        mine.verify(token)


def test_every_changed_character_is_noticed(mine: Tokens) -> None:
    token = mine.issue(USER, SESSION).token
    mine.verify(token)
    for place in range(0, len(token), 7):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Unauthenticated):
            mine.verify(changed)


def test_a_token_that_was_verified_expires_all_the_same(mine: Tokens) -> None:
    token = signed(claims())
    assert mine.verify(token)[:2] == WHOSE
    with clock.moved(timedelta(seconds=61)):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                mine.verify(token)


def test_a_verified_token_is_not_verified_again(mine: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    token = signed(claims())
    mine.verify(token)
    monkeypatch.setattr(jwt, "decode", lambda *_, **__: pytest.fail("verified again"))
    assert mine.verify(token)[:2] == WHOSE


def test_what_is_remembered_is_bounded_and_refused_tokens_are_not(
    mine: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "CACHED_TOKENS", 3)
    good = [signed(claims(nbf=n)) for n in range(5)]
    for token in good:
        assert mine.verify(token)[:2] == WHOSE
        with pytest.raises(Unauthenticated):
            mine.verify(token + "x")
    assert list(mine._verified) == good[2:]
    assert all(mine.verify(token)[:2] == WHOSE for token in good)


def test_any_number_who_bring_an_unknown_key_share_one_question_for_it() -> None:
    loaded = 0

    def load() -> list[Key]:
        nonlocal loaded
        loaded += 1
        time.sleep(0.02)
        return [Key(KEY_ID, KEY.encode())]

    async def crowd() -> list[bool]:
        here = Tokens(Settings(_env_file=None), load)
        await here.reload()
        unknown = [signed(claims(), kid=str(uuid4())) for _ in range(200)]

        async def refused(token: str) -> bool:
            try:
                await here.verify_soon(token)
            except Unauthenticated:
                return True
            return False

        async with asyncio.timeout(5):
            return await asyncio.gather(*map(refused, unknown))

    assert asyncio.run(crowd()) == [True] * 200
    assert loaded <= 3


@pytest.mark.parametrize(
    "header", [{"kid": ""}, {"kid": "of before"}, {"kid": "0199B2D0-7C5E-7A3F-9D3E-0A6F3C1B2D4E"}], ids=str
)
def test_a_token_that_names_no_key_of_ours_has_nobody_asked(mine: Tokens, header: dict[str, Any]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        mine.verify(signed(claims(), **header))
    assert not isinstance(refused.value, UnknownKey)
