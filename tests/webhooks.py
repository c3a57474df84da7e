"""Callbacks as the carrier sends them, and as nobody should."""

from __future__ import annotations

import itertools
import json
from datetime import datetime
from typing import Any
from uuid import UUID

from orderkit import webhook_signatures
from orderkit.clock import now
from orderkit.settings import Settings

_numbers = itertools.count()


def delivered(key: UUID | str, at: datetime | None = None) -> bytes:
    """The body of a report that the shipment with this key was delivered."""
    content = {
        "type": "shipment.delivered",
        "timestamp": (at or now()).isoformat(),
        "data": {"key": str(key), "tracking_number": "TR1"},
    }
    return json.dumps(content).encode()


def signed(
    settings: Settings, body: bytes, *, message_id: str | None = None, at: datetime | None = None, **more: Any
) -> dict[str, str]:
    """The headers of a callback under an id of its own, signed with the first key of the settings; `more` replaces some."""
    [key, *_] = settings.carrier_webhook_keys
    headers = webhook_signatures.sign(key, message_id or f"msg_{next(_numbers)}", at or now(), body)
    return {"Content-Type": "application/json", **headers, **more}
