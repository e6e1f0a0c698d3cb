"""One attempt to send a message: the request, and what is recorded of it."""

import logging
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction

from aggregator.encryption import DecryptionError
from aggregator.http import ssrf
from aggregator.models import TradingSignal
from commerce.models import Attempt, Endpoint, Message
from commerce.webhooks import chats, http_client, message_bodies, retries
from commerce.webhooks.http_client import AttemptResult
from commerce.webhooks.signing_secrets import decrypted_address, valid_secrets
from ecosystems import signing

logger = logging.getLogger("signal_hub.webhooks")

CLAIM_TIMEOUT = timedelta(seconds=45)
"""Twice as long as a request with its look-up of the name."""
SLOW_MS = 1000
OUTAGE = timedelta(minutes=1)
"""An endpoint that failed for longer was down; what waits for it need not wait out its schedule."""

SEND_SOON = """
    UPDATE webhook_messages SET due_at = least(due_at, now() + random() * interval '10 seconds')
    WHERE endpoint_id = %s AND state = 'waiting'"""


CHANGED_BY_ATTEMPTS = ("free_at", "is_slow", "failing_since", "state", "reason", "state_at", "notify_at")


@dataclass(frozen=True)
class Claim:
    """A message that this process alone sends until the claim expires; its attempt is counted already."""

    endpoint: Endpoint
    message: Message
    signal: TradingSignal | None
    expires_at: datetime


def send(claim: Claim) -> AttemptResult:
    """Send a message once and return the result. Uses no database; never raises."""
    try:
        return _send(claim)
    except Exception:
        # A bug that one message brings out must not stop the others.
        logger.exception("an attempt crashed endpoint=%s", claim.endpoint.public_id)
        return AttemptResult(0, "internal error")


def _send(claim: Claim) -> AttemptResult:
    endpoint, message = claim.endpoint, claim.message
    try:
        address = decrypted_address(endpoint)
    except DecryptionError:
        return AttemptResult(0, "the address cannot be decrypted: CORE_AUTH_SECRET was changed")
    if endpoint.channel != Endpoint.Channel.WEBHOOK:
        return chats.send_text(endpoint, address, claim.signal, message.outcome_event)
    try:
        target = ssrf.guard().check(address)
    except ssrf.Refused as refused:
        return AttemptResult(0, f"refused: {refused.code}")
    except ssrf.Unresolved:
        return AttemptResult(0, "the host has no address")
    body = message_bodies.body(message, claim.signal)
    return http_client.post(target, body, signed_headers(endpoint, message.message_id, body))


def signed_headers(endpoint: Endpoint, message_id: str, body: bytes) -> dict[str, str]:
    """Return a request's headers; after a rotation they carry a signature of each secret."""
    now = int(time.time())
    signatures = [signing.sign(secret, message_id, now, body) for secret in valid_secrets(endpoint)]
    return {
        "Content-Type": "application/json",
        "User-Agent": "signal-hub/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def record_attempt(claim: Claim, result: AttemptResult) -> None:
    """Record an attempt, and what follows from it for its message and its endpoint, in one transaction."""
    with transaction.atomic():
        rows = Endpoint.objects.select_for_update().with_clock()
        endpoint = rows.filter(pk=claim.endpoint.pk).first()
        if endpoint is None:
            return  # deleted while the request was under way
        now = endpoint.now
        Attempt.objects.create(
            message=claim.message,
            number=claim.message.attempt_count,
            at=now,
            status=result.status,
            error=result.error,
            excerpt=result.excerpt,
            duration_ms=result.duration_ms,
        )
        _update_message(claim.message, result, now)
        if endpoint.free_at == claim.expires_at:
            endpoint.free_at = now
        endpoint.is_slow = not result.ok or result.duration_ms > SLOW_MS
        if result.ok:
            _note_success(endpoint, now)
        else:
            _note_failure(endpoint, result, now)
        endpoint.save(update_fields=CHANGED_BY_ATTEMPTS)


def _update_message(message: Message, result: AttemptResult, now: datetime) -> None:
    """Finish or postpone a message, unless a replay or another worker has taken it up since the claim."""
    claimed = Message.objects.filter(
        pk=message.pk, state=Message.State.WAITING, attempt_count=message.attempt_count
    )
    wait = retries.wait_after(message.attempt_count, result)
    if result.ok:
        claimed.update(state=Message.State.DELIVERED, finished_at=now)
    elif wait is None:
        claimed.update(state=Message.State.FAILED, finished_at=now)
    else:
        claimed.update(due_at=now + wait)


def _note_success(endpoint: Endpoint, now: datetime) -> None:
    was_down = endpoint.failing_since is not None and now - endpoint.failing_since > OUTAGE
    endpoint.failing_since = None
    if was_down:
        with connection.cursor() as cursor:
            cursor.execute(SEND_SOON, [endpoint.pk])


def _note_failure(endpoint: Endpoint, result: AttemptResult, now: datetime) -> None:
    if result.status == retries.GONE:
        _disable(endpoint, "It answered 410 Gone.", now)
        return
    endpoint.failing_since = endpoint.failing_since or now
    failing_for = now - endpoint.failing_since
    if failing_for >= retries.DISABLED_AFTER:
        _disable(endpoint, "It failed for five days.", now)
    else:
        endpoint.free_at = max(endpoint.free_at, now + retries.rest_after(failing_for, result))


def _disable(endpoint: Endpoint, reason: str, now: datetime) -> None:
    if endpoint.state == Endpoint.State.ACTIVE:
        endpoint.state, endpoint.reason = Endpoint.State.DISABLED, reason
        endpoint.state_at = endpoint.notify_at = now
