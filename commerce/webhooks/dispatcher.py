"""The loop that pushes: it leases endpoints, and gives each to a thread that serves it for a turn."""

import logging
import threading
from concurrent import futures
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from django.db import close_old_connections

from aggregator.ledger.errors import Outage, classified
from aggregator.worker import Loop
from commerce.webhooks import claims, owner_notifications
from commerce.webhooks.turns import Turn

logger = logging.getLogger("signal_hub.messages")

THREADS = 12
FAILING_THREADS = 4
"""Endpoints that fail have threads of their own: a hundred that hang delay none that answer."""
SLOW_TURNS = 8
"""For each of those threads so many turns may be under way: all but one in it wait for slow answers."""
IDLE_S = 0.5


@dataclass
class Lane:
    """Threads, and the turns that they are at."""

    failing: bool
    threads: int
    stop: threading.Event
    pool: ThreadPoolExecutor = field(init=False)
    requests: ThreadPoolExecutor = field(init=False)
    turns: dict[Future[int], Turn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.most = self.threads * SLOW_TURNS
        name = "deliver-failing" if self.failing else "deliver"
        self.pool = ThreadPoolExecutor(self.most, thread_name_prefix=name)
        self.requests = ThreadPoolExecutor(self.most, thread_name_prefix=f"{name}-request")

    def fill(self) -> None:
        """Start turns while there are threads for them, and work."""
        while self._has_room() and not self.stop.is_set():
            held = claims.lease(failing=self.failing)
            if held is None:
                break
            turn = Turn(held, self.stop, self.requests)
            self.turns[self.pool.submit(turn.take)] = turn

    def _has_room(self) -> bool:
        """Tell whether a thread is free; a turn that waits for a slow answer keeps none from others."""
        brisk = sum(not turn.is_slow() for turn in self.turns.values())
        return brisk < self.threads and len(self.turns) < self.most

    def collect(self) -> int:
        """Forget the turns that ended; return how many attempts they made. Raises what they raised."""
        done = [future for future in self.turns if future.done()]
        for future in done:
            del self.turns[future]
        return sum(future.result() for future in done)

    def close(self) -> None:
        """Wait for the turns under way."""
        self.pool.shutdown(wait=True)
        self.requests.shutdown(wait=True)


class Dispatcher(Loop):
    """The loop over endpoints that have work; what it has under way ends when `stop` is set."""

    idle_interval_s = IDLE_S

    def __init__(
        self,
        stop: threading.Event | None = None,
        threads: int = THREADS,
        failing_threads: int = FAILING_THREADS,
    ) -> None:
        self.stop = stop or threading.Event()
        self.lanes = [Lane(False, threads, self.stop), Lane(True, failing_threads, self.stop)]
        # In a thread of their own: a mail server that hangs must not hold up the messages.
        self.chores_pool = ThreadPoolExecutor(1, thread_name_prefix="deliver-chores")
        self.chores: Future[None] | None = None

    def run_once(self, *, wait: bool) -> int:
        """Start what can be started; return how many attempts were made since. Raises Outage.

        Without `wait` it goes on until nothing is left to do now.
        """
        if wait:
            return self._turn()
        made = 0
        while self._fill() and not self.stop.is_set():
            made += self._turn()
        self.chores_pool.submit(self._do_chores).result()
        return made

    def _fill(self) -> list[Future[int]]:
        """Start turns in all free threads; return those under way."""
        close_old_connections()
        with classified():
            for lane in self.lanes:
                lane.fill()
        if self.chores is None or self.chores.done():
            self.chores = self.chores_pool.submit(self._do_chores)
        return [turn for lane in self.lanes for turn in lane.turns]

    def _do_chores(self) -> None:
        """Tell owners what they are yet to be told."""
        close_old_connections()
        try:
            with classified():
                owner_notifications.send_due()
        except Outage:
            pass  # the next turn attempts again
        except Exception:
            logger.exception("the chores of messages crashed")

    def _turn(self) -> int:
        # Not without a limit: turns become slow by themselves, and others may then begin.
        futures.wait(self._fill(), IDLE_S, futures.FIRST_COMPLETED)
        return sum(lane.collect() for lane in self.lanes)

    def close(self) -> None:
        """Wait for the requests under way; their messages are settled and their endpoints let go."""
        self.stop.set()
        for lane in self.lanes:
            lane.close()
        self.chores_pool.shutdown(wait=True)
