"""Answers of other servers for a page that must not wait for them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Generic, TypeVar

from aggregator.background import DAEMONS

T = TypeVar("T")

PATIENCE_S = 0.3
"""How long a page waits where nothing is known yet, or not any more."""


class Background(Generic[T]):
    """Asks a question in a thread of its own and gives out the last answer meanwhile."""

    def __init__(self, ask: Callable[[], T], fresh_s: float, kept_s: float = float("inf")) -> None:
        """An answer is asked for anew after `fresh_s`, and not given out after `kept_s`."""
        self._ask = ask
        self._fresh_s, self._kept_s = fresh_s, kept_s
        self._lock = threading.Lock()
        self._asked: Future[None] | None = None
        self._answer: T | None = None
        self._at = float("-inf")

    def latest(self) -> T | None:
        """Return the last answer, None when there was none in PATIENCE_S; asks anew when that is stale."""
        with self._lock:
            answer, age, asked = self._answer, time.monotonic() - self._at, self._asked
            stale = answer is None or age > self._fresh_s
            if stale and (asked is None or asked.done()):
                self._asked = asked = DAEMONS.submit(self._run)
        if asked is not None and (answer is None or age > self._kept_s):
            try:
                asked.result(PATIENCE_S)
            except NotYet:
                return None
            answer = self._answer
        return answer

    def _run(self) -> None:
        answer = self._ask()
        with self._lock:
            self._answer, self._at = answer, time.monotonic()
