"""Access tokens: JWT (RFC 7519) signed with HS256 by the installation's secret. They name a user and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import jwt

from orderkit.clock import now
from orderkit.errors import Unauthenticated
from orderkit.settings import Settings

ALGORITHM = "HS256"
ISSUER = AUDIENCE = "orderkit"
ACCESS = "access"
CACHED_TOKENS = 4096
"""About 2 MB. Verifying costs 75 µs, which an order would notice; finding a verified token costs less than one."""

_REQUIRED = ["iss", "aud", "sub", "typ", "iat", "exp"]


class AccessToken(NamedTuple):
    token: str
    expires_in: int


class Tokens:
    """Makes and checks access tokens. Belongs to one event loop or thread; a copy elsewhere agrees with it."""

    def __init__(self, settings: Settings) -> None:
        self._key = settings.signing_key
        self._good_for = timedelta(minutes=settings.access_token_minutes)
        self._verified: dict[str, tuple[UUID, int]] = {}

    def issue(self, user_id: UUID) -> AccessToken:
        """A token for `user_id`, good for as many seconds as it says."""
        issued = int(now().timestamp())
        seconds = int(self._good_for.total_seconds())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "typ": ACCESS,
            "iat": issued,
            "exp": issued + seconds,
        }
        return AccessToken(jwt.encode(claims, self._key, algorithm=ALGORITHM), seconds)

    def verify(self, token: str) -> UUID:
        """Whose token it is. Raises Unauthenticated for one that is forged, for another purpose, or over."""
        at = now().timestamp()
        user_id, expires = self._verified.get(token) or self._read(token, at)
        if expires <= at:
            self._verified.pop(token, None)
            raise _refused("the access token has expired; get a new one")
        return user_id

    def _read(self, token: str, at: float) -> tuple[UUID, int]:
        try:
            # The times are checked here by our own clock, which may be moved; PyJWT would ask the system's.
            claims = jwt.decode(
                token,
                self._key,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
            user_id = UUID(claims["sub"])
        except (jwt.PyJWTError, ValueError):
            raise _refused("the access token is not one of this installation") from None
        expires, not_before = claims["exp"], claims.get("nbf", 0)
        if claims["typ"] != ACCESS or type(expires) is not int or type(not_before) is not int or not_before > at:
            raise _refused("the token is not an access token that is good now")
        if len(self._verified) >= CACHED_TOKENS:
            del self._verified[next(iter(self._verified))]
        self._verified[token] = user_id, expires
        return user_id, expires


def _refused(detail: str) -> Unauthenticated:
    # RFC 6750, section 3.1
    return Unauthenticated(detail, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
