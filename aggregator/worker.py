"""The runtime of every background loop: a thread each, one contract for blocking, errors and stopping.

`settings.WORKER_LOOPS` lists the loops. `run_worker`, `consume_streams`, `consume_databases` and the Celery
worker's bootstep host them.

What a loop raises decides what follows:
- an outage (the database or Redis cannot take it now): the same object is asked again after a while;
- Misconfigured (Redis refuses the login, a key is not a stream) before its first batch: the process ends with
  one line. Later it is an outage: a login may be refused until a failover is over;
- anything else is a bug: the loop gets a fresh object after a while, and the health check names it. After
  MAX_CRASHES within CRASH_WINDOW_S the process ends with status 1, for its supervisor to start it anew.
"""

import gc
import logging
import os
import socket
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from functools import partial
from typing import ClassVar

import psycopg
import redis
from django.conf import settings
from django.db import Error, connections
from django.utils.module_loading import import_string

from aggregator import worker_states
from aggregator.ledger.errors import Outage, is_outage
from aggregator.postgres.pool import release_connections
from aggregator.worker_states import LoopState
from ecosystems.redis_client import error_text

logger = logging.getLogger("signal_hub.worker")

FIRST_DELAY_S = 0.5
MAX_DELAY_S = 10.0
MAX_CRASHES = 5
CRASH_WINDOW_S = 600.0
STATES_INTERVAL_S = 10.0
"""How often the states of the loops are written for the health check; changes are written at once."""
SWITCH_INTERVAL_S = 0.0002
"""How long the thread that writes waits, each time Postgres has answered, for one that computes."""

REFUSALS = (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError)


class Misconfigured(Exception):
    """Waiting cannot repair it; the text is one line for an operator."""


class LoopFailed(Exception):
    """A loop has ended for good, and the process has to; the text is one line for an operator."""


class Loop(ABC):
    """Work that goes on for ever, one batch at a time. One thread makes it, runs it and closes it."""

    idle_interval_s: ClassVar[float] = 0.0
    """How long to wait after a batch that found nothing to do."""

    @abstractmethod
    def run_once(self, *, wait: bool) -> int:
        """Do one batch and return how much was done, 0 where there was nothing to do.

        Blocks while it works and, only with `wait`, up to a second or so for work to come: a stop waits for
        it. Raises Outage, another error of the database that is an outage, or redis.RedisError where a server
        cannot take it now; it is called again then, and must not have lost anything nor do anything twice.
        """

    def close(self) -> None:
        """Finish and acknowledge what is in hand and release connections.

        Called once, as the last method, also after an error. Blocks for the work under way; does not raise
        for an outage. A loop that has nothing in hand leaves it at this.
        """
        connections.close_all()


class LoopThread:
    """One loop in its thread: waits out outages, replaces a loop that crashed, and knows how it fares."""

    def __init__(
        self, name: str, make: Callable[[], Loop], stop: threading.Event, changed: threading.Event, once: bool
    ) -> None:
        self.name, self._make = name, make
        self._stop, self._changed, self._once = stop, changed, once
        self.thread = threading.Thread(target=self._run, name=f"loop {name}", daemon=True)
        self.done = 0
        self.ended = False
        self.failure = ""
        """Why the loop cannot go on; the process has to end, too."""
        self._ok_at = time.monotonic()
        self._has_succeeded = False
        self._problem = ""
        self._outage_at: float | None = None
        self._delay_s = FIRST_DELAY_S
        self._crashed_at: deque[float] = deque(maxlen=MAX_CRASHES)

    def state(self, worker: str) -> LoopState:
        """Return how the loop fares; called by another thread."""
        return LoopState(worker, self.name, time.monotonic() - self._ok_at, self._crashes(), self._problem)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    with closing(self._make()) as loop:
                        self._drive(loop)
                    return
                except Misconfigured as error:
                    self._fail(str(error))
                except BaseException as error:  # a SystemExit would end this thread alone, unnoticed
                    self._crashed(error)
                finally:
                    connections.close_all()
        finally:
            self.ended = True
            self._changed.set()

    def _drive(self, loop: Loop) -> None:
        """Do batches until the stop or, with `once`, until nothing is left to do."""
        while not self._stop.is_set():
            try:
                count = loop.run_once(wait=not self._once)
            except Exception as error:
                if not _is_outage(error):
                    raise
                self._wait_out(error)
                continue
            finally:
                release_connections()
            self._succeeded()
            self.done += count
            if count == 0:
                if self._once:
                    return
                self._stop.wait(loop.idle_interval_s)

    def _wait_out(self, error: Exception) -> None:
        """Wait before the next attempt in an outage. Raises Misconfigured where waiting is of no use."""
        # Not the text of every error, which may hold a URL; an Outage's is made for logs.
        reason = str(error) if isinstance(error, Outage) else error_text(error)
        if not self._has_succeeded and (isinstance(error, REFUSALS) or "WRONGTYPE" in str(error)):
            raise Misconfigured(f"{self.name}: Redis refuses: {reason}") from error
        if self._outage_at is None:
            self._outage_at = time.monotonic()
            logger.warning("loop=%s outage, trying until it is over: %s", self.name, reason)
            self._set_problem(f"outage: {reason}")
        self._stop.wait(self._delay_s)
        self._delay_s = min(self._delay_s * 2, MAX_DELAY_S)

    def _succeeded(self) -> None:
        self._ok_at = time.monotonic()
        self._has_succeeded = True
        if self._outage_at is not None:
            logger.info("loop=%s goes on after %.1f s", self.name, self._ok_at - self._outage_at)
            self._outage_at, self._delay_s = None, FIRST_DELAY_S
            self._set_problem("")

    def _crashed(self, error: BaseException) -> None:
        """Log a crash and wait before the next attempt, or give up."""
        self._crashed_at.append(time.monotonic())
        crashes = self._crashes()
        logger.error("loop=%s crashed, %d of %d", self.name, crashes, MAX_CRASHES, exc_info=error)
        self._set_problem(type(error).__name__)
        if self._once or crashes == MAX_CRASHES:
            self._fail(f"{self.name} crashed {crashes} times, the last time with {type(error).__name__}")
        else:
            self._stop.wait(min(FIRST_DELAY_S * 2 ** (crashes - 1), MAX_DELAY_S))

    def _crashes(self) -> int:
        since = time.monotonic() - CRASH_WINDOW_S
        return sum(at > since for at in tuple(self._crashed_at))

    def _fail(self, text: str) -> None:
        self.failure = text
        self._stop.set()

    def _set_problem(self, text: str) -> None:
        self._problem = text
        self._changed.set()


class Worker:
    """Hosts loops, a thread each, until `stop` is set, one fails or, with `once`, nothing is left to do."""

    def __init__(
        self, loops: Mapping[str, Callable[[], Loop]], stop: threading.Event, *, once: bool = False
    ) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}"
        self.stop, self.once = stop, once
        self._changed = threading.Event()
        self._loops = [LoopThread(name, make, stop, self._changed, once) for name, make in loops.items()]

    def run(self) -> dict[str, int]:
        """Run all loops to their end; return how much each has done. Raises LoopFailed."""
        for loop in self._loops:
            loop.thread.start()
        while not self.stop.is_set() and not all(loop.ended for loop in self._loops):
            self._write_states()
            self._changed.wait(STATES_INTERVAL_S)
            self._changed.clear()
        for loop in self._loops:
            loop.thread.join()
        if failures := [loop.failure for loop in self._loops if loop.failure]:
            self._write_states()
            raise LoopFailed("; ".join(failures))
        return {loop.name: loop.done for loop in self._loops}

    def _write_states(self) -> None:
        if self.once:
            return  # a loop that was run once is not expected to go on
        try:
            worker_states.write_states([loop.state(self.name) for loop in self._loops])
        except Outage:
            pass  # the database's own check says so
        finally:
            connections.close_all()


def configured(only: Iterable[str] = ()) -> dict[str, Callable[[], Loop]]:
    """Return what makes each loop of `settings.WORKER_LOOPS`, by name.

    What follows a colon in a name is the argument, as the database in `databases:forex`. `only` chooses by
    whole names or by what stands before the colon. Raises Misconfigured for an unknown one.
    """
    wanted = set(only)
    groups = {name: name.partition(":")[0] for name in settings.WORKER_LOOPS}
    if unknown := sorted(wanted.difference(groups, groups.values())):
        there = ", ".join(dict.fromkeys(groups.values()))
        raise Misconfigured(f"no loop is called {', '.join(unknown)}; there are {there}")
    chosen = [name for name, group in groups.items() if not wanted or wanted & {name, group}]
    loops: dict[str, Callable[[], Loop]] = {}
    for name in chosen:
        _, colon, argument = name.partition(":")
        make = import_string(settings.WORKER_LOOPS[name])
        loops[name] = partial(make, argument) if colon else make
    return loops


def tune_process() -> None:
    """Tune the interpreter for a program that does nothing but host loops."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.freeze()  # Objects that stay for ever: examining them again and again took a fifth of the time.
    gc.set_threshold(50_000)  # A batch has thousands of objects, none in a circle: looking took 3 %.


def _is_outage(error: Exception) -> bool:
    known = isinstance(error, Outage | redis.RedisError)
    return known or (isinstance(error, Error | psycopg.Error) and is_outage(error))
