"""One attempt at one message: entitled still, sent, and what came of it on record."""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import connection, transaction
from django.db.models import QuerySet
from django.utils import timezone

from aggregator.encryption import DecryptionError
from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.entitlements import Entitlement, Scope
from commerce.models import Attempt, Endpoint, Message
from commerce.webhooks import chats, http_client, messages, retries, ssrf
from commerce.webhooks.http_client import AttemptResult
from commerce.webhooks.signing_secrets import decrypted_address, valid_secrets
from ecosystems import signing

State = Message.State

OUTAGE = timedelta(minutes=1)
"""An endpoint that failed for longer was down; what waits for it need not wait out its schedule."""

SOON = """
    UPDATE webhook_messages SET due_at = least(due_at, now() + random() * interval '10 seconds')
    WHERE endpoint_id = %s AND state = 'waiting'"""


def attempt(
    endpoint: Endpoint,
    message: Message,
    rights: Entitlement,
    ask: Callable[[Callable[[], AttemptResult]], AttemptResult],
) -> AttemptResult | None:
    """Try a claimed message once and settle it; return the answer, or None when it is sent no more.

    `ask` is given the request, which needs no database, and returns its answer.
    """
    signal = message.signal
    if signal is not None:
        visible = entitlements.visible(rights.scope, rights.scope.window())
        signal = visible.filter(pk=signal.pk).first()
        if signal is None:
            _settle(message, State.WITHHELD, timezone.now())
            return None
    answer = ask(partial(_send, endpoint, message, signal, rights.scope))
    record(endpoint, message, answer)
    return answer


def _send(endpoint: Endpoint, message: Message, signal: TradingSignal | None, scope: Scope) -> AttemptResult:
    try:
        address = decrypted_address(endpoint)
    except DecryptionError:
        return AttemptResult(0, "the address cannot be decrypted: CORE_AUTH_SECRET was changed", "", None, 0)
    if endpoint.channel != Endpoint.Channel.WEBHOOK:
        return chats.send(endpoint.channel, address, signal)
    try:
        target = ssrf.guard().check(address)
    except ssrf.Refused as refused:
        return AttemptResult(0, f"refused: {refused.code}", "", None, 0)
    except ssrf.Unresolved:
        return AttemptResult(0, "the host has no address", "", None, 0)
    body = messages.body(message, signal, scope)
    return http_client.post(target, body, headers(endpoint, message.message_id, body))


def headers(endpoint: Endpoint, message_id: str, body: bytes) -> dict[str, str]:
    """Return the headers of a signed request; after a rotation it carries a signature of each secret."""
    now = int(time.time())
    signatures = [signing.sign(secret, message_id, now, body) for secret in valid_secrets(endpoint)]
    return {
        "Content-Type": "application/json",
        "User-Agent": "signal-hub/1",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": " ".join(signatures),
    }


def record(endpoint: Endpoint, message: Message, answer: AttemptResult) -> None:
    """Put an attempt on record, and what follows for the message and for its endpoint."""
    now = timezone.now()
    with transaction.atomic():
        held = Endpoint.objects.select_for_update().filter(pk=endpoint.pk).first()
        if held is None:
            return  # deleted while the request was under way
        Attempt.objects.create(
            message=message,
            number=message.attempt_count,
            at=now,
            status=answer.status,
            error=answer.error,
            excerpt=answer.excerpt,
            duration_ms=answer.duration_ms,
        )
        if answer.ok:
            _succeeded(held, message, now)
        else:
            _failed(held, message, answer, now)


def _succeeded(endpoint: Endpoint, message: Message, now: datetime) -> None:
    _settle(message, State.DELIVERED, now)
    if endpoint.failing_since is None:
        return
    was_down = now - endpoint.failing_since > OUTAGE
    endpoint.failing_since = None
    endpoint.save(update_fields=["failing_since"])
    if was_down:
        with connection.cursor() as cursor:
            cursor.execute(SOON, [endpoint.pk])


def _failed(endpoint: Endpoint, message: Message, answer: AttemptResult, now: datetime) -> None:
    wait = None if answer.status == retries.GONE else retries.next_wait(message.attempt_count, answer)
    if wait is None:
        _settle(message, State.FAILED, now)
    else:
        _postpone(message, now + wait)
    if answer.status == retries.GONE:
        _disable(endpoint, "It answered 410 Gone.", now)
    elif endpoint.failing_since is None:
        endpoint.failing_since = now
        endpoint.save(update_fields=["failing_since"])
    elif now - endpoint.failing_since >= retries.DISABLED_AFTER:
        _disable(endpoint, "It failed for five days.", now)


def _disable(endpoint: Endpoint, reason: str, now: datetime) -> None:
    Endpoint.objects.filter(pk=endpoint.pk, state=Endpoint.State.ACTIVE).update(
        state=Endpoint.State.DISABLED, reason=reason, state_at=now, notify=True
    )


def _settle(message: Message, state: State, now: datetime) -> None:
    """Settle this very attempt: a replay or another worker may have taken the message up since."""
    _ours(message).update(state=state, finished_at=now)


def _postpone(message: Message, until: datetime) -> None:
    _ours(message).update(due_at=until)


def _ours(message: Message) -> QuerySet[Message]:
    return Message.objects.filter(pk=message.pk, state=State.WAITING, attempt_count=message.attempt_count)
