"""The loop that pushes: it leases endpoints, and gives each to a thread that serves it for a turn."""

import logging
import threading
import time
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db import close_old_connections, connections
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

    def fill(self) -> bool:
        """Start a turn for each free thread while there is work; return whether any was started."""
        started = False
        while len(self.turns) < self.threads:
            held = claims.lease(failing=self.failing)
            if held is None:
                break
            self.turns.add(self.pool.submit(take_turn, held, self.stop))
            started = True
        return started

    def collect(self) -> int:
        """Forget the turns that ended; return how many attempts they made. Raises what they raised."""
        done = {turn for turn in self.turns if turn.done()}
        self.turns -= done
        return sum(turn.result() for turn in done)


class Deliverer:
    """A consumer (see `aggregator.consuming`) of endpoints that have work."""

    def __init__(self, threads: int = THREADS, failing_threads: int = FAILING_THREADS) -> None:
        self.stop = threading.Event()
        self.lanes = [Lane(False, threads, self.stop), Lane(True, failing_threads, self.stop)]

    def run_once(self, *, wait: bool) -> int:
        """Start what can be started; return how many attempts were made since. Raises Outage.

        Without `wait` it returns when at least one turn ended, so that 0 means that nothing is left.
        """
        close_old_connections()
        with classified():
            for lane in self.lanes:
                lane.fill()
            notices.send()
        turns = [turn for lane in self.lanes for turn in lane.turns]
        if turns:
            futures.wait(turns, IDLE_S if wait else None, futures.FIRST_COMPLETED)
        ended = sum(turn.done() for turn in turns)
        made = sum(lane.collect() for lane in self.lanes)
        return made if wait else max(made, ended)

    def close(self) -> None:
        """Wait for the requests under way; their deliveries are settled and their endpoints let go."""
        self.stop.set()
        for lane in self.lanes:
            lane.pool.shutdown(wait=True)
        connections.close_all()


def take_turn(held: claims.Lease, stop: threading.Event) -> int:
    """Plan for an endpoint and send what is due, one after the other; return the attempts made.

    Ends at the first failure, when nothing is due, when told to stop, or after TURN_S.
    """
    close_old_connections()
    made, until = 0, time.monotonic() + TURN_S
    rest = timedelta(0)
    try:
        with classified():
            while time.monotonic() < until and not stop.is_set():
                planned = plan(held.endpoint_id)
                endpoint = held.renew()
                if endpoint is None:
                    break
                rights = rights_of(endpoint, timezone.now())
                if rights is None:
                    rest = UNENTITLED_REST
                    break
                delivery = held.claim()
                if delivery is None:
                    if planned:
                        continue
                    break
                made += 1
                if not attempt(endpoint, delivery, rights):
                    rest = rest_of(endpoint, timezone.now())
                    break
            held.release(rest)
    except Outage as outage:
        # The lease runs out by itself, and what was claimed comes up again.
        logger.warning("a turn ended early: %s", outage)
    except Exception:
        # One endpoint's trouble, even a bug that only it brings out, must not stop the others.
        logger.exception("a turn crashed endpoint=%d", held.endpoint_id)
    return made


def rest_of(endpoint: Endpoint, now: datetime) -> timedelta:
    """Return how long an endpoint that just failed is left alone: a tenth of the time that it has failed."""
    failing = now - (endpoint.failing_since or now)
    return min(max(failing / 10, timedelta(seconds=1)), LONGEST_REST)
