"""Requests to the webhook, signed as agents sign them."""

import hmac
import itertools
import json
import time
from typing import Any

from ecosystems import signing
from tests.servers import WEBHOOK_SECRET

numbers = itertools.count(1)


def wire(signal_id: str = "s-1", **fields: Any) -> dict[str, Any]:
    """The JSON object of a valid signal; `fields` override."""
    return {
        "signal_id": signal_id,
        "ecosystem": "crypto",
        "timestamp": "2026-01-02T03:04:05Z",
        "symbol": "BTCUSDT",
        "action": "BUY",
    } | fields


def as_bytes(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content).encode()


def standard(body: bytes, secret: str = WEBHOOK_SECRET, late: float = 0) -> dict[str, str]:
    """Standard Webhooks headers of a message that was signed `late` seconds ago."""
    return signing.headers(secret, f"msg-{next(numbers)}", int(time.time() - late), body)


def legacy(body: bytes, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    return {"X-Signature": hmac.digest(secret.encode(), body, "sha256").hex()}
