"""The loop that sends messages to customers' endpoints; any number of workers may run it.

One thread, the loop's own, uses the database: it plans messages, claims those that are due and records what
came of them, each in a short transaction. Requests run in threads that hold no connection, however long a
receiver takes. A claim counts the attempt before it is made, and keeps its endpoint from all other claims
until it expires, so messages go out in order and one at a time, and what a killed worker had claimed is sent
again by another one.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

from django.db import connections, transaction
from django.db.models import Exists, F, OuterRef, Subquery
from django.db.models.functions import Now

from aggregator.ledger.errors import Outage, classified
from aggregator.models import TradingSignal
from aggregator.postgres.pool import release_connections
from aggregator.worker import Loop
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


class Dispatcher(Loop):
    """The loop over messages that are due. Its methods are for one thread."""

    idle_interval_s = WAIT_TIMEOUT_S

    def __init__(self, max_requests: int = MAX_REQUESTS, max_slow_requests: int = MAX_SLOW_REQUESTS) -> None:
        self._capacity = {False: max_requests, True: max_slow_requests}
        """How many requests may be under way to endpoints that are not slow, and to those that are."""
        self._threads = ThreadPoolExecutor(sum(self._capacity.values()), thread_name_prefix="webhook")
        self._under_way: dict[Future[AttemptResult], Claim] = {}
        self._planner = Planner()
        self._plan_at = 0.0

    def run_once(self, *, wait: bool) -> int:
        """Start requests that are due and record those that ended; return how much was done. Raises Outage.

        Blocks for WAIT_TIMEOUT_S at most; without `wait` until something is done or nothing is left to do.
        """
        while True:
            with classified():
                done = self._start_due()
            release_connections()
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

    def _start_due(self) -> int:
        """Start requests; where none is due, and every WAIT_TIMEOUT_S, plan more and see to slow endpoints.

        Not for each message: of 27 ms of processor time that one took, 11 ms went there.
        """
        done = self._start(slow=False)
        if done and time.monotonic() < self._plan_at:
            return done
        self._plan_at = time.monotonic() + WAIT_TIMEOUT_S
        done += self._planner.run()
        return done + self._start(slow=False) + self._start(slow=True)

    def _start(self, *, slow: bool) -> int:
        """Start requests as far as there is capacity; return how many messages were sent or withheld."""
        busy = sum(claim.endpoint.is_slow == slow for claim in self._under_way.values())
        claims, withheld = claim_due(self._capacity[slow] - busy, slow=slow)
        for claim in claims:
            self._under_way[self._threads.submit(attempts.send, claim)] = claim
        return len(claims) + withheld

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
    claims, withheld = [], []
    with transaction.atomic():
        endpoints = _lock_endpoints(limit, slow)
        rights = entitlements_of(endpoints.values())
        unentitled = endpoints.keys() - rights.keys()
        Endpoint.objects.filter(pk__in=unentitled).update(free_at=Now() + UNENTITLED_REST)
        for message, signal in _next_messages(rights):
            endpoint = endpoints[message.endpoint_id]
            if message.signal_id is not None and signal is None:
                withheld.append(message.pk)
            else:
                message.attempt_count += 1
                expires_at = endpoint.now + CLAIM_TIMEOUT
                claims.append(Claim(endpoint, message, signal, expires_at))
        Message.objects.filter(pk__in=withheld).update(state=Message.State.WITHHELD, finished_at=Now())
        if claims:
            Message.objects.filter(pk__in=[claim.message.pk for claim in claims]).update(
                attempt_count=F("attempt_count") + 1, due_at=expires_at
            )
            Endpoint.objects.filter(pk__in=[claim.endpoint.pk for claim in claims]).update(free_at=expires_at)
    return claims, len(withheld)


def _lock_endpoints(limit: int, slow: bool) -> dict[int, Endpoint]:
    """Lock free endpoints with something due, by primary key; those that others have locked are skipped."""
    due = Message.objects.due().filter(endpoint=OuterRef("pk"))
    rows = Endpoint.objects.free().filter(Exists(due), is_slow=slow).with_clock().order_by("free_at")
    return {endpoint.pk: endpoint for endpoint in rows.select_for_update(skip_locked=True)[:limit]}


def _next_messages(rights: Mapping[int, Entitlement]) -> Iterator[tuple[Message, TradingSignal | None]]:
    """Yield the next message of each endpoint, with its signal if the endpoint may still see it.

    They are read under the endpoints' locks, so no other worker claims them.
    """
    due = Message.objects.due().filter(endpoint=OuterRef("pk"))
    next_ids = Endpoint.objects.filter(pk__in=rights).values(next=Subquery(due.values("pk")[:1]))
    by_scope: dict[Scope, list[Message]] = defaultdict(list)
    for message in Message.objects.filter(pk__in=next_ids).select_related("outcome_event"):
        by_scope[rights[message.endpoint_id].scope].append(message)
    for scope, messages in by_scope.items():
        visible = entitlements.visible(scope, scope.window())
        signals = visible.in_bulk([row.signal_id for row in messages if row.signal_id is not None])
        for message in messages:
            yield message, signals.get(message.signal_id)
