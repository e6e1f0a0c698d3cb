"""Values computed in the background, for readers that must not hang with what computes them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, Generic, TypeVar

from aggregator.postgres.pool import call_and_release, release_connections

T = TypeVar("T")


class NotReady(Exception):
    """The attempt has not returned in time, and there is no earlier value that is young enough."""


def run_in_thread(call: Callable[..., T], *args: Any) -> Future[T]:
    """Call in a daemon thread, which closes its database connections at its end, and return the future.

    The standard pool waits for its threads when the process ends: one that hangs in a server that does not
    answer would keep the process from ending.
    """
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(call_and_release(call, *args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="background", daemon=True).start()
    return future


class BackgroundValue(Generic[T]):
    """The latest result of `compute`, which may hang, for any number of threads.

    `compute` runs in a daemon thread, one attempt at a time: one that hangs is not started again until it
    returns. A reader

    - gets a value younger than `fresh_s` at once;
    - else starts an attempt, unless one is under way, and waits until that is `timeout_s` old;
    - does not wait for an attempt that another reader has started while the value is younger than `stale_s`;
    - gets a value younger than `stale_s` also where the attempt failed or takes too long. Without one it gets
      the exception that `compute` raised, or NotReady. Exceptions are not kept: the next reader tries again.
    """

    def __init__(
        self, compute: Callable[[], T], *, fresh_s: float, timeout_s: float, stale_s: float = 0.0
    ) -> None:
        self._compute = compute
        self._fresh_s, self._stale_s, self._timeout_s = fresh_s, stale_s, timeout_s
        self._lock = threading.Lock()
        self._attempt: tuple[Future[T], float] | None = None
        """With when it began."""
        self._known: tuple[T, float] | None = None
        """The last value, with when it was computed."""

    def get(self, timeout_s: float | None = None) -> T:
        """Return the value as the class describes; `timeout_s` may differ from the usual."""
        has_started = self._start()
        usable_s = self._fresh_s if self.running_for_s() is None else self._stale_s
        if not has_started and (known := self._younger_than(usable_s)):
            return known[0]
        assert self._attempt is not None  # `_start` returns False without one only for a fresh value
        attempt, began = self._attempt
        release_connections()  # what it waits for needs one
        left_s = began + (self._timeout_s if timeout_s is None else timeout_s) - time.monotonic()
        is_done = bool(wait([attempt], max(0.0, left_s)).done)
        if is_done and attempt.exception() is None:
            return attempt.result()
        if known := self._younger_than(self._stale_s):
            return known[0]
        if is_done:
            return attempt.result()  # raises
        raise NotReady

    def latest(self, timeout_s: float | None = None) -> T | None:
        """Return what `get` returns, None in place of NotReady."""
        try:
            return self.get(timeout_s)
        except NotReady:
            return None

    def running_for_s(self) -> float | None:
        """Return for how many seconds the attempt under way has run; None where there is none."""
        if self._attempt is None or self._attempt[0].done():
            return None
        return time.monotonic() - self._attempt[1]

    def join(self, timeout_s: float) -> None:
        """Wait for the attempt under way, if any."""
        if self._attempt is not None:
            wait([self._attempt[0]], timeout_s)

    def _start(self) -> bool:
        """Start an attempt unless the value is fresh or one is under way; return whether it did."""
        with self._lock:
            if self._younger_than(self._fresh_s) or self.running_for_s() is not None:
                return False
            self._attempt = run_in_thread(self._run), time.monotonic()
            return True

    def _run(self) -> T:
        value = self._compute()
        self._known = value, time.monotonic()
        return value

    def _younger_than(self, age_s: float) -> tuple[T, float] | None:
        known = self._known
        return known if known is not None and time.monotonic() - known[1] < age_s else None
