"""Callbacks of the carrier over HTTP: whose signature is not good changes nothing, whose is good counts once."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import random
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from orderkit import clock
from orderkit.api.edge import MAX_BODY_BYTES
from orderkit.auth.models import User
from orderkit.db import Database
from orderkit.events.models import WebhookReceipt
from orderkit.fulfillment import shipping
from orderkit.fulfillment.carriers import Booked
from orderkit.fulfillment.models import Fulfillment
from orderkit.ids import new_id
from orderkit.observability import logs
from orderkit.orders import cancellation
from orderkit.settings import Settings
from tests import webhooks
from tests.client import Answer, Client, running
from tests.engines import decided_by_the_request
from tests.shop import Shop

PATH = "/webhooks/carrier"


def secret(seed: int) -> str:
    return "whsec_" + base64.b64encode(random.Random(seed).randbytes(32)).decode()


def other(settings: Settings, **changes: Any) -> Settings:
    """Those settings, and some others. No copy: that would keep the keys it has found."""
    return Settings(_env_file=None, **(settings.model_dump(exclude_unset=True) | changes))


@pytest.fixture
def shop(database: Database, settings: Settings) -> Shop:
    return Shop(database, settings)


def book(shop: Shop, queued: Fulfillment) -> None:
    with shop.database.transaction() as session:
        claim = shipping.claim(session.connection(), queued.id, settings=shop.settings)
    assert claim is not None
    with shop.database.transaction() as session:
        booked = Booked(f"TR{queued.id.hex}")
        shipping.finish(session.connection(), claim, booked, duration_ms=7, settings=shop.settings)


@pytest.fixture
def parcel(shop: Shop) -> Fulfillment:
    """Of an order that is shipped."""
    queued = shop.queued()
    book(shop, queued)
    return queued


def send(api: Client, body: bytes, headers: dict[str, str]) -> Answer:
    return api.post(PATH, body, headers)


def outcome(answer: Answer) -> str:
    assert answer.status == 200, answer
    return str(answer.json()["outcome"])


def untouched(shop: Shop, parcel: Fulfillment) -> bool:
    kept = shop.fulfillment(parcel.order_id)
    return (
        shop.order(parcel.order_id).status == "shipped" and kept.delivered_at is None and shop.all(WebhookReceipt) == []
    )


def refused(answer: Answer) -> bool:
    return (answer.status, answer.code) == (400, "signature_invalid")


# ── taken ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signed_report_delivers_the_order(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks: headers and signature."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(shop.settings, body)
    answer = send(api, body, headers)
    assert outcome(answer) == "delivered"
    assert shop.order(parcel.order_id).status == "delivered"
    assert [one.id for one in shop.all(WebhookReceipt)] == [headers["webhook-id"]]


def test_a_late_report_is_taken_with_the_time_it_tells(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks: the header is when it was sent, the body when it happened; retries go on for days."""
    with clock.moved(timedelta(days=3)):
        happened = clock.now() - timedelta(days=2)
        body = webhooks.delivered(parcel.id, happened)
        assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "delivered"
    assert shop.fulfillment(parcel.order_id).delivered_at == happened


def test_a_repeat_is_answered_200_and_changes_nothing(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks, idempotency: webhook-id; OWASP ASVS 5.0 V2.3."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(shop.settings, body)
    outcomes = [outcome(send(api, body, headers)) for _ in range(3)]
    outcomes.append(outcome(send(api, body, webhooks.signed(shop.settings, body, message_id=headers["webhook-id"]))))
    assert outcomes == ["delivered", "repeated", "repeated", "repeated"]
    assert shop.events(parcel.order_id).count("order.delivered") == 1


def test_the_same_delivery_under_another_id_changes_nothing(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks: a sender may lose the id it gave."""
    body = webhooks.delivered(parcel.id)
    assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "delivered"
    before = shop.order(parcel.order_id)
    assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "known"
    assert shop.order(parcel.order_id) == before


@pytest.mark.parametrize("same_id", [True, False])
def test_of_ten_at_once_one_delivers(api: Client, shop: Shop, parcel: Fulfillment, same_id: bool) -> None:
    """OWASP ASVS 5.0 V2.3.4, V15.4: no race."""
    body = webhooks.delivered(parcel.id)
    sent = [webhooks.signed(shop.settings, body, message_id="one" if same_id else None) for _ in range(10)]

    async def all_at_once() -> list[Answer]:
        return await asyncio.gather(*(api.call("POST", PATH, body, headers=one) for one in sent))

    outcomes = sorted(outcome(one) for one in api.run(all_at_once()))
    assert outcomes == ["delivered", *["repeated" if same_id else "known"] * 9]
    assert shop.events(parcel.order_id).count("order.delivered") == 1


def test_a_report_that_overtakes_the_booking_delivers_once_that_is_known(api: Client, shop: Shop) -> None:
    """Standard Webhooks: no order is promised."""
    queued = shop.queued()
    body = webhooks.delivered(queued.id)
    assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "remembered"
    assert shop.order(queued.order_id).status == "paid"
    book(shop, queued)
    assert shop.order(queued.order_id).status == "delivered"


def test_a_report_of_a_cancelled_order_is_taken_and_leaves_it_cancelled(api: Client, shop: Shop) -> None:
    """Standard Webhooks: no order is promised."""
    queued = shop.queued()
    with shop.database.transaction() as session:
        cancellation.cancel(session.connection(), queued.order_id, reason="changed my mind")
    body = webhooks.delivered(queued.id)
    assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "recorded"
    assert shop.order(queued.order_id).status == "cancelled"


def test_what_is_of_no_interest_need_not_be_sent_again(api: Client, shop: Shop) -> None:
    """Standard Webhooks: anything but 2xx is sent again for days."""
    stranger = webhooks.delivered(new_id())
    assert outcome(send(api, stranger, webhooks.signed(shop.settings, stranger))) == "unknown"
    invoice = json.dumps({"type": "invoice.sent", "data": [1]}).encode()
    assert outcome(send(api, invoice, webhooks.signed(shop.settings, invoice))) == "ignored"


def test_members_that_are_not_known_are_passed_over(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks: payloads grow, and a carrier's new field is no reason to lose deliveries."""
    content = json.loads(webhooks.delivered(parcel.id))
    content |= {"version": 2, "data": content["data"] | {"signed_by": "A"}}
    body = json.dumps(content).encode()
    assert outcome(send(api, body, webhooks.signed(shop.settings, body))) == "delivered"


# ── refused ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seconds", [-290, 290])
def test_a_clock_that_is_off_by_less_than_five_minutes_will_do(
    api: Client, shop: Shop, parcel: Fulfillment, seconds: int
) -> None:
    """Standard Webhooks: tolerance of the timestamp."""
    body = webhooks.delivered(parcel.id)
    at = clock.now() + timedelta(seconds=seconds)
    assert outcome(send(api, body, webhooks.signed(shop.settings, body, at=at))) == "delivered"


@decided_by_the_request
@pytest.mark.parametrize("seconds", [-1_000_000_000, -86_400, -302, 302, 86_400])
def test_a_report_of_another_time_is_refused(api: Client, shop: Shop, parcel: Fulfillment, seconds: int) -> None:
    """Standard Webhooks: replays; security requirement: older than five minutes is 400."""
    body = webhooks.delivered(parcel.id)
    at = clock.now() + timedelta(seconds=seconds)
    assert refused(send(api, body, webhooks.signed(shop.settings, body, at=at)))
    assert untouched(shop, parcel)


def test_a_report_that_was_overheard_is_no_good_later(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks: the timestamp is signed too, so that nobody can make an old report young."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(shop.settings, body)
    with clock.moved(timedelta(minutes=6)):
        assert refused(send(api, body, headers))
        young = headers | {"webhook-timestamp": str(int(clock.now().timestamp()))}
        assert refused(send(api, body, young))
        assert refused(send(api, body, young | {"webhook-id": "another"}))
    assert untouched(shop, parcel)


def test_any_byte_that_is_changed_is_noticed(api: Client, shop: Shop, parcel: Fulfillment, rng: random.Random) -> None:
    """Standard Webhooks: the body is signed as it is, byte by byte."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(shop.settings, body)
    for place in rng.sample(range(len(body)), 20):
        changed = bytearray(body)
        changed[place] ^= 1 << rng.randrange(8)
        assert refused(send(api, bytes(changed), headers)), place
    for changed_body in (body + b" ", body[:-1], b"", json.dumps(json.loads(body), indent=1).encode()):
        assert refused(send(api, changed_body, headers))
    assert untouched(shop, parcel)


def test_a_signature_under_another_secret_is_refused(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """Standard Webhooks; OWASP ASVS 5.0 V11.3: forged."""
    body = webhooks.delivered(parcel.id)
    stranger = other(shop.settings, carrier_webhook_secret=SecretStr(secret(1)))
    assert refused(send(api, body, webhooks.signed(stranger, body)))
    assert untouched(shop, parcel)


HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")


@decided_by_the_request
@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize(
    "value", ["", " ", ".", "v1,", "v1", ",", "0", "-1", "nan", "1e9", "٣", "v1a,AAAA", "x" * 5000]
)
def test_a_header_that_is_no_good_is_refused(
    api: Client, shop: Shop, parcel: Fulfillment, name: str, value: str
) -> None:
    """Standard Webhooks; OWASP ASVS 5.0 V2.2: whatever is in a header is 400 and never 500."""
    body = webhooks.delivered(parcel.id)
    headers: dict[str, str | bytes] = {**webhooks.signed(shop.settings, body), name: value.encode()}
    assert refused(api.post(PATH, body, headers))
    del headers[name]
    assert refused(api.post(PATH, body, headers))
    assert untouched(shop, parcel)


@decided_by_the_request
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_there_twice_is_refused(api: Client, shop: Shop, parcel: Fulfillment, name: str) -> None:
    """OWASP ASVS 5.0 V4.2: no two readers may take different ones."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(shop.settings, body)
    assert refused(api.post(PATH, body, [*headers.items(), (name, headers[name])]))
    assert untouched(shop, parcel)


def test_a_token_is_no_signature(api: Client, shop: Shop, parcel: Fulfillment, admin: User) -> None:
    """OWASP API Security Top 10 2023, API2: the signature is the authentication, and nothing else is."""
    assert refused(
        api.post(PATH, webhooks.delivered(parcel.id), {**api.token(admin), "Content-Type": "application/json"})
    )
    assert untouched(shop, parcel)


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_while_a_secret_is_exchanged_both_are_good(settings: Settings, shop: Shop) -> None:
    """Standard Webhooks: secret rotation."""
    old, new = (other(settings, carrier_webhook_secret=SecretStr(secret(n))) for n in (1, 2))
    both = other(settings, carrier_webhook_secret=SecretStr(f"{secret(2)}, {secret(1)}"))
    with running(both) as api:
        for signer in (old, new, both):
            parcel = shop.queued()
            body = webhooks.delivered(parcel.id)
            assert outcome(send(api, body, webhooks.signed(signer, body))) == "remembered"
    with running(new) as api:
        body = webhooks.delivered(shop.queued().id)
        assert refused(send(api, body, webhooks.signed(old, body)))


def test_one_good_signature_among_others_will_do(settings: Settings, shop: Shop, api: Client) -> None:
    """Standard Webhooks: a sender that exchanges its secret signs with both; a receiver passes over what it does not know."""
    body = webhooks.delivered(shop.queued().id)
    headers = webhooks.signed(settings, body)
    many = f"v1,AAAA v1a,AAAA garbage {headers['webhook-signature']} v2,x"
    assert outcome(send(api, body, headers | {"webhook-signature": many})) == "remembered"


def test_production_without_a_secret_takes_no_callback(settings: Settings, shop: Shop, parcel: Fulfillment) -> None:
    """OWASP ASVS 5.0 V13.3.1: no secret that somebody could guess stands in for one that was forgotten."""
    body = webhooks.delivered(parcel.id)
    headers = webhooks.signed(settings, body)
    production = other(settings, env="production", secret_key=SecretStr(settings.signing_key))
    assert production.carrier_webhook_keys == ()
    with running(production) as api:
        assert refused(send(api, body, headers))
    assert untouched(shop, parcel)


# ── what is signed and still wrong ───────────────────────────────────────────────────────────────────────────────────

MALFORMED = [b"", b"{", b"\xff", b'{"type": "a", "type": "b"}', b"[" * 5000, b'{"type": NaN}']


@decided_by_the_request
@pytest.mark.parametrize("body", MALFORMED, ids=lambda body: repr(body[:20]))
def test_what_is_no_json_is_400(api: Client, shop: Shop, body: bytes) -> None:
    """OWASP ASVS 5.0 V1.5: whoever signs it."""
    answer = send(api, body, webhooks.signed(shop.settings, body))
    assert (answer.status, answer.code) == (400, "body_malformed")
    assert shop.all(WebhookReceipt) == []


def changed(**more: object) -> bytes:
    content = json.loads(webhooks.delivered(UUID(int=7)))
    content |= {"timestamp": "2026-11-21T12:00:00Z"} | more  # the same in every process that collects tests
    return json.dumps({name: value for name, value in content.items() if value is not ...}).encode()


UNFIT = [
    b"null",
    b"[]",
    b"5",
    changed(type=...),
    changed(type=None),
    changed(type=""),
    changed(type="x" * 256),
    changed(timestamp=...),
    changed(timestamp="yesterday"),
    changed(timestamp="2026-01-01T00:00:00"),
    changed(data=...),
    changed(data=[]),
    changed(data={}),
    changed(data={"key": "FAIL"}),
    changed(data={"key": 7}),
    changed(data={"key": "a\0b"}),
]


@decided_by_the_request
@pytest.mark.parametrize("body", UNFIT, ids=lambda body: body.decode()[:60])
def test_what_does_not_fit_is_422(api: Client, shop: Shop, body: bytes) -> None:
    """OWASP ASVS 5.0 V2.2."""
    answer = send(api, body, webhooks.signed(shop.settings, body))
    assert (answer.status, answer.code) == (422, "validation_failed")
    assert shop.all(WebhookReceipt) == []


def test_what_is_too_large_is_refused_unread(api: Client, shop: Shop) -> None:
    """OWASP API Security Top 10 2023, API4."""
    body = b" " * (MAX_BODY_BYTES + 1)
    answer = send(api, body, webhooks.signed(shop.settings, body))
    assert (answer.status, answer.code) == (413, "body_too_large")


def test_another_media_type_is_refused(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """OWASP ASVS 5.0 V4.1."""
    body = webhooks.delivered(parcel.id)
    answer = send(api, body, webhooks.signed(shop.settings, body) | {"Content-Type": "text/plain"})
    assert (answer.status, answer.code) == (415, "unsupported_media_type")
    assert untouched(shop, parcel)


def test_nothing_of_a_callback_but_what_it_came_to_is_logged(api: Client, shop: Shop, parcel: Fulfillment) -> None:
    """OWASP ASVS 5.0 V16.2.5."""
    output = io.StringIO()
    logs.configure(shop.settings, output)
    content = json.loads(webhooks.delivered(parcel.id)) | {"canary": "canary-body"}
    body = json.dumps(content).encode()
    headers = webhooks.signed(shop.settings, body)
    assert refused(send(api, body, headers | {"webhook-signature": "v1,canary-signature"}))
    assert refused(send(api, body + b" ", headers))
    assert outcome(send(api, body, headers)) == "delivered"
    told = output.getvalue()
    assert "POST /webhooks/carrier 200" in told
    assert "canary" not in told
    assert headers["webhook-signature"] not in told
