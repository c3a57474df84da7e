"""Access tokens: JWT (RFC 7519) signed with HS256. They name a session and its user, and nothing else.

A token proves that the session was good when it was issued; whether it still is, is asked of the database on each request
(`callers`, and for orders the claim itself).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

import jwt
from loguru import logger

from orderkit import reasons
from orderkit.auth.signing_keys import Key
from orderkit.clock import now
from orderkit.errors import InvalidToken, Unavailable
from orderkit.settings import Settings

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "orderkit"
ACCESS = "access"
CACHED_TOKENS = 4096
"""About 2 MB. Verifying costs 75 µs, which an order would notice; finding a verified token costs less than one."""

RELOAD_S = 1.0
"""How long a process may go on with a key that was retired elsewhere."""
ASK_AGAIN_S = 0.25
"""Tokens of an unknown key, which anyone can make up, have the keys asked for no more often than that."""

_KEY_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REQUIRED = ["iss", "aud", "sub", "sid", "typ", "iat", "exp"]


class AccessToken(NamedTuple):
    token: str
    expires_in: int


class Verified(NamedTuple):
    """Whose token it is, of which session, and when it is over, in seconds since 1970."""

    user_id: UUID
    session_id: UUID
    expires: int


class UnknownKey(InvalidToken):
    """The token names a key that is not here. It may have been made a moment ago, by another process."""


class Tokens:
    """Makes and checks access tokens. Belongs to one event loop; `load` asks the database for the keys, in a thread."""

    def __init__(self, settings: Settings, load: Callable[[], Sequence[Key]]) -> None:
        self._load = load
        self._good_for = timedelta(minutes=settings.access_token_minutes)
        self._keys: dict[str, bytes] = {}
        self._verified: dict[str, Verified] = {}
        self._loading = asyncio.Lock()
        self._asked_at = self._answer_of = float("-inf")

    def issue(self, user_id: UUID, session_id: UUID) -> AccessToken:
        """A token, good for as many seconds as it says. Raises Unavailable while the keys were never read."""
        if not self._keys:
            raise Unavailable("the signing keys could not be read yet; try again")
        issued = int(now().timestamp())
        seconds = int(self._good_for.total_seconds())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "typ": ACCESS,
            "iat": issued,
            "exp": issued + seconds,
        }
        key_id, secret = next(iter(self._keys.items()))
        return AccessToken(jwt.encode(claims, secret, algorithm=ALGORITHM, headers={"kid": key_id}), seconds)

    def verify(self, token: str) -> Verified:
        """Whose token it is. Raises Unauthenticated for one that is forged, for another purpose, or over; UnknownKey."""
        at = now().timestamp()
        found = self._verified.get(token) or self._read(token, at)
        if found.expires <= at:
            self._verified.pop(token, None)
            raise InvalidToken("the access token has expired; get a new one")
        return found

    async def verify_soon(self, token: str) -> Verified:
        """As `verify`, but for a key that is not known it first asks which there are by now."""
        try:
            return self.verify(token)
        except UnknownKey:
            await self.reload()
            return self.verify(token)

    def _read(self, token: str, at: float) -> Verified:
        try:
            key_id = jwt.get_unverified_header(token).get("kid")
            if not isinstance(key_id, str) or not _KEY_ID.fullmatch(key_id):
                raise InvalidToken("the access token is not one of this installation")
            secret = self._keys.get(key_id)
            if secret is None:
                raise UnknownKey("the access token is not one of this installation")
            # The times are checked here by our own clock, which may be moved; PyJWT would ask the system's.
            claims = jwt.decode(
                token,
                secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            found = Verified(UUID(claims["sub"]), UUID(claims["sid"]), claims["exp"])
        except (jwt.PyJWTError, ValueError, AttributeError, TypeError):  # the last two: a sid that is no text
            raise InvalidToken("the access token is not one of this installation") from None
        not_before: Any = claims.get("nbf", 0)
        if claims["typ"] != ACCESS or type(found.expires) is not int or type(not_before) is not int or not_before > at:
            raise InvalidToken("the token is not an access token that is good now")
        if len(self._verified) >= CACHED_TOKENS:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = found
        return found

    async def reload(self) -> None:
        """Asks for the keys, at most every ASK_AGAIN_S. Whoever comes meanwhile shares the next answer.

        Raises what the database does.
        """
        loop = asyncio.get_running_loop()
        asked = loop.time()
        async with self._loading:
            if self._answer_of >= asked:
                return
            await asyncio.sleep(self._asked_at + ASK_AGAIN_S - loop.time())
            self._asked_at = began = loop.time()
            keys = {key.id: key.secret for key in await _to_the_end(self._load)}
            self._answer_of = began
            if keys != self._keys:
                self._keys = keys
                self._verified.clear()  # some may be of a key that was retired

    async def keep_current(self) -> None:
        """Reloads the keys each second, for ever. Without the database those there are stay good."""
        told = False
        while True:
            try:
                await self.reload()
                told = False
            except Exception as error:  # noqa: BLE001 - whatever it is, the loop must go on
                if not told:
                    logger.bind(**reasons.facts(error)).warning(
                        "the signing keys could not be read: {}", reasons.in_words(error)
                    )
                told = True
            await asyncio.sleep(RELOAD_S)


async def _to_the_end(load: Callable[[], Sequence[Key]]) -> Sequence[Key]:
    """`load()` in a thread, which is waited for when cancelled too: what it has open may be closed next."""
    thread = asyncio.ensure_future(asyncio.to_thread(load))
    try:
        return await asyncio.shield(thread)
    except asyncio.CancelledError:
        await asyncio.wait([thread])
        thread.exception()  # asked for, or asyncio would complain that nobody did
        raise
