"""The loop that sends messages to customers' endpoints; any number of workers may run it.

One thread, the loop's own, uses the database: it plans messages, claims those that are due and records what
came of them, each in a short transaction. Requests run in threads that hold no connection, however long a
receiver takes. A claim counts the attempt before it is made, and keeps its endpoint from all other claims
until it expires, so messages go out in order and one at a time, and what a killed worker had claimed is sent
again by another one.
"""

import logging
from collections import defaultdict
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from django.db import close_old_connections, connections, transaction
from django.db.models import Exists, F, OuterRef, Subquery

from aggregator.ledger.errors import Outage, classified
from aggregator.models import TradingSignal
from commerce import entitlements
from commerce.entitlements import Entitlement, Scope
from commerce.models import Endpoint, Message
from commerce.webhooks import attempts
from commerce.webhooks.attempts import CLAIM_TIMEOUT, Claim
from commerce.webhooks.http_client import AttemptResult
from commerce.webhooks.planning import Planner, entitlements_of

logger = logging.getLogger("signal_hub.webhooks")

MAX_REQUESTS = 96
MAX_SLOW_REQUESTS = 32
"""Endpoints that hang or fail have a capacity of their own: a thousand of them delay none that answers."""
WAIT_TIMEOUT_S = 0.25
"""How long the loop waits for a request to end before it looks for more that is due."""
UNENTITLED_REST = timedelta(minutes=1)


class Dispatcher:
    """A loop of the worker. Its methods are for one thread."""

    def __init__(self, max_requests: int = MAX_REQUESTS, max_slow_requests: int = MAX_SLOW_REQUESTS) -> None:
        self._capacity = {False: max_requests, True: max_slow_requests}
        """How many requests may be under way to endpoints that are not slow, and to those that are."""
        self._threads = ThreadPoolExecutor(sum(self._capacity.values()), thread_name_prefix="webhook")
        self._under_way: dict[Future[AttemptResult], Claim] = {}
        self._planner = Planner()

    def run_once(self, *, wait: bool) -> int:
        """Plan, start requests, and record those that ended; return how much was done. Raises Outage.

        Blocks for WAIT_TIMEOUT_S at most; without `wait` until something is done or nothing is left to do.
        """
        close_old_connections()
        while True:
            with classified():
                done = self._planner.run() + self._start(slow=False) + self._start(slow=True)
            futures.wait(self._under_way, WAIT_TIMEOUT_S, futures.FIRST_COMPLETED)
            done += self._record()
            if done or wait or not self._under_way:
                return done

    def close(self) -> None:
        """Wait for the requests under way, record them, and release the connection."""
        self._threads.shutdown()
        with suppress(Outage):  # the claims expire, and other workers send again
            self._record()
        connections.close_all()

    def _start(self, *, slow: bool) -> int:
        """Start requests as far as there is capacity; return how many messages were withheld instead."""
        busy = sum(claim.endpoint.is_slow == slow for claim in self._under_way.values())
        claims, withheld = claim_due(self._capacity[slow] - busy, slow=slow)
        for claim in claims:
            self._under_way[self._threads.submit(attempts.send, claim)] = claim
        return withheld

    def _record(self) -> int:
        """Record the requests that ended and return how many; in an outage the rest is left for later."""
        ended = [future for future in self._under_way if future.done()]
        for future in ended:
            claim = self._under_way[future]
            try:
                with classified():
                    attempts.record_attempt(claim, future.result())
            except Outage:
                raise
            except Exception:
                # A bug that one endpoint brings out must not stop the others; the claim expires.
                logger.exception("an attempt was not recorded endpoint=%s", claim.endpoint.public_id)
            del self._under_way[future]
        return len(ended)


def claim_due(limit: int, *, slow: bool) -> tuple[list[Claim], int]:
    """Claim the next message that is due of each of up to `limit` endpoints, the longest free ones first.

    Returns the claims, and how many messages were withheld since their signals are not entitled any more.
    """
    if limit <= 0:
        return [], 0
    with transaction.atomic():
        endpoints = _lock_endpoints(limit, slow)
        if not endpoints:
            return [], 0
        now = endpoints[0].now
        rights = entitlements_of(endpoints)
        unentitled = [endpoint.pk for endpoint in endpoints if endpoint.pk not in rights]
        Endpoint.objects.filter(pk__in=unentitled).update(free_at=now + UNENTITLED_REST)
        messages = _next_messages(list(rights))
        signals = _visible_signals(messages, rights)
        sendable = [row for row in messages if row.signal_id is None or row.pk in signals]
        withheld = [row.pk for row in messages if row not in sendable]
        Message.objects.filter(pk__in=withheld).update(state=Message.State.WITHHELD, finished_at=now)
        expires_at = now + CLAIM_TIMEOUT
        Message.objects.filter(pk__in=[row.pk for row in sendable]).update(
            attempt_count=F("attempt_count") + 1, due_at=expires_at
        )
        Endpoint.objects.filter(pk__in=[row.endpoint_id for row in sendable]).update(free_at=expires_at)
    by_id = {endpoint.pk: endpoint for endpoint in endpoints}
    claims = []
    for row in sendable:
        row.attempt_count += 1
        scope = rights[row.endpoint_id].scope
        claims.append(Claim(by_id[row.endpoint_id], row, signals.get(row.pk), scope, expires_at))
    return claims, len(withheld)


def _lock_endpoints(limit: int, slow: bool) -> list[Endpoint]:
    """Lock free endpoints with something due, but for those that another worker has locked."""
    due = Message.objects.due().filter(endpoint=OuterRef("pk"))
    rows = Endpoint.objects.free().filter(Exists(due), is_slow=slow).with_clock()
    return list(rows.order_by("free_at").select_for_update(skip_locked=True)[:limit])


def _next_messages(endpoints: list[int]) -> list[Message]:
    """Return the next message of each endpoint: read under the lock, so no other worker claims it."""
    due = Message.objects.due().filter(endpoint=OuterRef("pk"))
    next_ids = Endpoint.objects.filter(pk__in=endpoints).values(next=Subquery(due.values("pk")[:1]))
    return list(Message.objects.filter(pk__in=next_ids))


def _visible_signals(messages: list[Message], rights: dict[int, Entitlement]) -> dict[int, TradingSignal]:
    """Return, by message, the signals that the endpoints may still see; a query for each different scope."""
    by_scope: dict[Scope, list[Message]] = defaultdict(list)
    for message in messages:
        if message.signal_id is not None:
            by_scope[rights[message.endpoint_id].scope].append(message)
    found = {}
    for scope, rows in by_scope.items():
        visible = entitlements.visible(scope, scope.window())
        signals = visible.in_bulk([row.signal_id for row in rows])
        found.update({row.pk: signals[row.signal_id] for row in rows if row.signal_id in signals})
    return found
