"""The loop that pushes: it leases endpoints, and gives each to a thread that serves it for a turn."""

import logging
import threading
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import close_old_connections
from django.utils import timezone

from aggregator.faults import classified
from aggregator.verdicts import Outage
from commerce.deliveries import claims, notices
from commerce.deliveries.planning import plan, rights_of
from commerce.deliveries.sending import attempt
from commerce.models import Endpoint

logger = logging.getLogger("signal_hub.deliveries")

THREADS = 12
FAILING_THREADS = 4
"""Endpoints that fail have threads of their own: a hundred that hang delay none that answer."""
TURN_S = 20.0
"""After this long an endpoint with a backlog lets others have its thread."""
IDLE_S = 0.5
UNENTITLED_REST = timedelta(minutes=1)
LONGEST_REST = timedelta(minutes=5)


@dataclass
class Lane:
    """Threads, and the turns that they are at."""

    failing: bool
    threads: int
    stop: threading.Event
    pool: ThreadPoolExecutor = field(init=False)
    turns: set[Future[int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        name = "deliver-failing" if self.failing else "deliver"
        self.pool = ThreadPoolExecutor(self.threads, thread_name_prefix=name)

    def fill(self) -> None:
        """Start a turn in each free thread while there is work."""
        while len(self.turns) < self.threads:
            held = claims.lease(failing=self.failing)
            if held is None:
                break
            self.turns.add(self.pool.submit(take_turn, held, self.stop))

    def collect(self) -> int:
        """Forget the turns that ended; return how many attempts they made. Raises what they raised."""
        done = {turn for turn in self.turns if turn.done()}
        self.turns -= done
        return sum(turn.result() for turn in done)


class Deliverer:
    """A consumer (see `aggregator.consuming`) of endpoints that have work; it ends when `stop` is set."""

    def __init__(
        self,
        stop: threading.Event | None = None,
        threads: int = THREADS,
        failing_threads: int = FAILING_THREADS,
    ) -> None:
        self.stop = stop or threading.Event()
        self.lanes = [Lane(False, threads, self.stop), Lane(True, failing_threads, self.stop)]
        # In a thread of its own: a mail server that hangs must not hold up the deliveries.
        self.mail = ThreadPoolExecutor(1, thread_name_prefix="deliver-notices")
        self.notices: Future[int] | None = None

    def run_once(self, *, wait: bool) -> int:
        """Start what can be started; return how many attempts were made since. Raises Outage.

        Without `wait` it goes on until nothing is left to do now.
        """
        if wait:
            return self._turn(IDLE_S)
        made = 0
        while self._fill() and not self.stop.is_set():
            made += self._turn(None)
        self.mail.submit(notices.send).result()
        return made

    def _fill(self) -> list[Future[int]]:
        """Start turns in all free threads; return those under way."""
        close_old_connections()
        with classified():
            for lane in self.lanes:
                lane.fill()
        if self.notices is None or self.notices.done():
            self.notices = self.mail.submit(notices.send)
        return [turn for lane in self.lanes for turn in lane.turns]

    def _turn(self, seconds: float | None) -> int:
        futures.wait(self._fill(), seconds, futures.FIRST_COMPLETED)
        return sum(lane.collect() for lane in self.lanes)

    def close(self) -> None:
        """Wait for the requests under way; their deliveries are settled and their endpoints let go."""
        self.stop.set()
        for lane in self.lanes:
            lane.pool.shutdown(wait=True)
        self.mail.shutdown(wait=True)


def take_turn(held: claims.Lease, stop: threading.Event) -> int:
    """Send to an endpoint what is due, one after the other, and plan more; return the attempts made.

    Ends at the first failure, when nothing is due, when told to stop, or after TURN_S.
    """
    close_old_connections()
    made = 0
    try:
        with classified():
            made, rest = _serve(held, stop)
            held.release(rest)
    except Outage as outage:
        # The lease runs out by itself, and what was claimed comes up again.
        logger.warning("a turn ended early: %s", outage)
    except Exception:
        # One endpoint's trouble, even a bug that only it brings out, must not stop the others.
        logger.exception("a turn crashed endpoint=%d", held.endpoint_id)
    return made


def _serve(held: claims.Lease, stop: threading.Event) -> tuple[int, timedelta]:
    """Return the attempts made, and how long the endpoint is left alone now."""
    made, until = 0, time.monotonic() + TURN_S
    while time.monotonic() < until and not stop.is_set():
        endpoint = held.renew()
        if endpoint is None:
            break
        rights = rights_of(endpoint, timezone.now())
        if rights is None:
            return made, UNENTITLED_REST
        delivery = held.claim()
        if delivery is None:
            if plan(held.endpoint_id):
                continue
            break
        made += 1
        if not attempt(endpoint, delivery, rights):
            return made, rest_of(endpoint, timezone.now())
    return made, timedelta(0)


def rest_of(endpoint: Endpoint, now: datetime) -> timedelta:
    """Return how long an endpoint that just failed is left alone: a tenth of the time that it has failed."""
    failing = now - (endpoint.failing_since or now)
    return min(max(failing / 10, timedelta(seconds=1)), LONGEST_REST)
