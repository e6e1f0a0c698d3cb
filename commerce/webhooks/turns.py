"""A turn: an endpoint in one thread's hands, which sends to it until nothing is due or something fails."""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, wait
from datetime import datetime, timedelta

from django.db import close_old_connections, connections
from django.utils import timezone

from aggregator.ledger.errors import Outage, classified
from commerce.models import Endpoint
from commerce.webhooks import claims
from commerce.webhooks.attempts import attempt
from commerce.webhooks.http_client import AttemptResult
from commerce.webhooks.planning import plan, rights_of

logger = logging.getLogger("signal_hub.messages")

TURN_S = 20.0
"""After this long an endpoint with a backlog lets others have its thread."""
SLOW_S = 1.0
"""A request that takes longer stands aside: it gives up its connection, and its place in the lane."""
UNENTITLED_REST = timedelta(minutes=1)
LONGEST_REST = timedelta(minutes=5)


class Turn:
    """What a thread does with a lease. Requests run in `requests`, so that a slow one can stand aside."""

    def __init__(self, held: claims.Lease, stop: threading.Event, requests: Executor) -> None:
        self.held = held
        self.stop = stop
        self.requests = requests
        self.asked_at: float | None = None
        """When the request under way began, by the monotonic clock."""

    def is_slow(self) -> bool:
        """Tell whether it waits for an answer that takes long; asked by other threads."""
        asked_at = self.asked_at
        return asked_at is not None and time.monotonic() - asked_at > SLOW_S

    def take(self) -> int:
        """Send to the endpoint what is due, one after the other, and plan more; return the attempts made.

        Ends at the first failure, when nothing is due, when told to stop, or after TURN_S.
        """
        close_old_connections()
        made = 0
        try:
            with classified():
                made, rest = self._serve()
                self.held.release(rest)
        except Outage as outage:
            # The lease runs out by itself, and what was claimed comes up again.
            logger.warning("a turn ended early: %s", outage)
        except Exception:
            # One endpoint's trouble, even a bug that only it brings out, must not stop the others.
            logger.exception("a turn crashed endpoint=%d", self.held.endpoint_id)
        return made

    def _serve(self) -> tuple[int, timedelta]:
        """Return the attempts made, and how long the endpoint is left alone now."""
        made, until = 0, time.monotonic() + TURN_S
        while time.monotonic() < until and not self.stop.is_set():
            endpoint = self.held.renew()
            if endpoint is None:
                break
            rights = rights_of(endpoint, timezone.now())
            if rights is None:
                return made, UNENTITLED_REST
            message = self.held.claim()
            if message is None:
                if plan(self.held.endpoint_id):
                    continue
                break
            made += 1
            answer = attempt(endpoint, message, rights, self._ask)
            if answer and not answer.ok:
                return made, rest_of(endpoint, answer, timezone.now())
        return made, timedelta(0)

    def _ask(self, request: Callable[[], AttemptResult]) -> AttemptResult:
        """Return what a request gives, however long it takes; without a connection while it takes long."""
        self.asked_at = time.monotonic()
        try:
            under_way = self.requests.submit(request)
            if not wait([under_way], SLOW_S).done:
                connections.close_all()
            return under_way.result()
        finally:
            self.asked_at = None


def rest_of(endpoint: Endpoint, answer: AttemptResult, now: datetime) -> timedelta:
    """Return how long an endpoint that just failed is left alone.

    A tenth of the time that it has failed, or what it asks for: `Retry-After` is about all its messages.
    """
    failing = now - (endpoint.failing_since or now)
    rest = min(max(failing / 10, timedelta(seconds=1)), LONGEST_REST)
    return max(rest, timedelta(seconds=answer.retry_after_s or 0))
