"""Signatures of a webhook request, both ways.

Two schemes: Standard Webhooks 1.0 (https://www.standardwebhooks.com), HMAC-SHA256 over `id.timestamp.body`,
and the legacy `X-Signature`, the hex HMAC-SHA256 of the body alone. All functions work on bytes or ASCII
text, and none of them parses the body.
"""

import base64
import hashlib
import hmac
import re

TOLERANCE_S = 300
"""How far a `webhook-timestamp` may be from the receiver's clock, either way, in seconds."""

MAX_SIGNATURES = 10
"""Signatures in one header; each costs the receiver a comparison for every key it tries."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,256}")
_TIMESTAMP = re.compile(r"[0-9]{10}")


def key_of(secret: str) -> bytes:
    """Return the HMAC key that `secret` stands for: `whsec_<base64>`, or any text, whose UTF-8 bytes it is.

    Raises ValueError when what follows `whsec_` is not base64.
    """
    if secret.startswith("whsec_"):
        encoded = secret.removeprefix("whsec_")
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    return secret.encode()


def sign(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value, `v1,<base64>`. `timestamp` is in seconds since the epoch."""
    signed = hmac.digest(key_of(secret), f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


def headers(secret: str, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three Standard Webhooks headers of a request."""
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": sign(secret, message_id, timestamp, body),
    }


def verify(
    secrets: list[str], message_id: str, timestamp: str, signatures: str, body: bytes, now: float
) -> bool:
    """Return whether any `v1` signature of the header was made with any of `secrets`, and recently.

    The three texts are the header values as received. `now` is in seconds since the epoch.
    """
    if not (_ID.fullmatch(message_id) and _TIMESTAMP.fullmatch(timestamp)):
        return False
    # In whole seconds, like the header: otherwise a timestamp exactly at the tolerance would fail.
    if abs(int(now) - int(timestamp)) > TOLERANCE_S:
        return False
    given = signatures.split(" ")
    if len(given) > MAX_SIGNATURES:
        return False
    candidates = [text.encode("latin-1", "replace") for text in given if text.startswith("v1,")]
    expected = [sign(secret, message_id, int(timestamp), body).encode() for secret in secrets]
    return any(hmac.compare_digest(ours, theirs) for ours in expected for theirs in candidates)


def verify_legacy(secrets: list[str], signature: str, body: bytes) -> bool:
    """Return whether `signature`, hex in either case, was made with any of `secrets`.

    A `whsec_` secret passes both as text, as the first generation of agents uses it, and decoded.
    """
    given = signature.lower().encode("latin-1", "replace")
    keys = {key for secret in secrets for key in (secret.encode(), key_of(secret))}
    expected = [hmac.digest(key, body, hashlib.sha256).hex().encode() for key in keys]
    return any(hmac.compare_digest(ours, given) for ours in expected)
