"""Signatures of callbacks, apart from what is signed."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime

import pytest

from orderkit.errors import ConfigurationError, SignatureInvalid
from orderkit.settings import PREFIX, load_settings
from orderkit.webhook_signatures import keys_of, sign, verify

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
AT = datetime(2021, 2, 25, 15, 2, 10, tzinfo=UTC)
BODY = b'{"test": 2432232314}'
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
# What `standardwebhooks` 1.1.0 makes of the same.
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_a_signature_is_what_others_make_it() -> None:
    """Standard Webhooks: HMAC-SHA-256 of id, timestamp and body, apart by full stops, in base64."""
    assert sign(keys_of(SECRET)[0], ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": "1614265330",
        "webhook-signature": SIGNED,
    }


def test_what_others_sign_is_verified_and_nothing_else_is() -> None:
    """Standard Webhooks."""

    def check(*, message_id: str = ID, timestamp: str = "1614265330", signatures: str = SIGNED) -> None:
        verify(keys_of(SECRET), message_id=message_id, timestamp=timestamp, signatures=signatures, body=BODY, at=AT)

    check()
    for wrong in (
        {"message_id": ID[:-1]},
        {"timestamp": "1614265331"},
        {"signatures": SIGNED.removeprefix("v1,")},
        {"signatures": SIGNED.replace("v1", "v1a")},
        {"signatures": SIGNED[:-1]},
        {"signatures": SIGNED.replace(",", ", ")},
        {"signatures": "v1,"},
    ):
        with pytest.raises(SignatureInvalid):
            check(**wrong)


def test_what_is_signed_cannot_be_cut_in_another_way() -> None:
    """Standard Webhooks: the three parts are apart by full stops, so an id has none."""
    [key] = keys_of(SECRET)
    timestamp = "1614265330"
    body = b"1614265330.{}"
    signature = sign(key, "a", AT, body)["webhook-signature"]
    with pytest.raises(SignatureInvalid):
        verify([key], message_id=f"a.{timestamp}", timestamp=timestamp, signatures=signature, body=b"{}", at=AT)


def test_signatures_are_compared_in_constant_time_and_every_one_with_every_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """OWASP ASVS 5.0 V11.2.4."""
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", counting)
    other = "whsec_" + base64.b64encode(bytes(range(32))).decode()
    with pytest.raises(SignatureInvalid):
        verify(
            keys_of(f"{SECRET},{other}"),
            message_id=ID,
            timestamp="1614265330",
            signatures=f"v1,x {SIGNED[:-2]}A=",
            body=BODY,
            at=AT,
        )
    assert len(compared) == 4


# ── the setting ──────────────────────────────────────────────────────────────────────────────────────────────────────

NAME = f"{PREFIX}CARRIER_WEBHOOK_SECRET"
BAD = {
    "no prefix": SECRET.removeprefix("whsec_"),
    "no base64": "whsec_" + "!" * 32,
    "short": "whsec_" + base64.b64encode(b"x" * 23).decode(),
    "long": "whsec_" + base64.b64encode(b"x" * 65).decode(),
    "one of two": f"{SECRET},",
    "not ASCII": "whsec_" + "é" * 40,
}


@pytest.mark.parametrize("kind", BAD)
def test_a_secret_that_is_none_is_told_and_not_quoted(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard Webhooks: 24 to 64 bytes; OWASP ASVS 5.0 V13.3.1."""
    monkeypatch.setenv(NAME, BAD[kind])
    with pytest.raises(ConfigurationError, match=rf"^{NAME} is not whsec_") as told:
        load_settings()
    assert BAD[kind] not in told.value.detail


def test_several_secrets_are_taken_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Standard Webhooks: secret rotation."""
    other = "whsec_" + base64.b64encode(bytes(range(64))).decode()
    monkeypatch.setenv(NAME, f"{SECRET}, {other}")
    settings = load_settings()
    assert settings.carrier_webhook_keys == (*keys_of(SECRET), bytes(range(64)))
    assert SECRET not in repr(settings)


def test_production_refuses_a_secret_that_is_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    """OWASP ASVS 5.0 V11.5.1."""
    monkeypatch.setenv(NAME, "whsec_" + base64.b64encode(b"ab" * 16).decode())
    load_settings()
    with pytest.raises(ConfigurationError, match=f"{NAME} is weak"):
        load_settings(env="production")


def test_in_development_api_and_simulator_find_the_same_secret_and_each_installation_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OWASP ASVS 5.0 V13.3.1: no secret comes with the software."""
    monkeypatch.setenv("ORDERKIT_HOME", "one")
    [key] = load_settings().carrier_webhook_keys
    assert load_settings().carrier_webhook_keys == (key,)
    assert key != load_settings().signing_key.encode()
    monkeypatch.setenv("ORDERKIT_HOME", "two")
    assert load_settings().carrier_webhook_keys != (key,)
