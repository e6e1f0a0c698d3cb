"""Answers of other servers for a page that must not wait for them."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import TimeoutError as NotYet
from typing import Generic, TypeVar

from aggregator.probes.threads import DAEMONS

T = TypeVar("T")

PATIENCE_S = 0.3
"""How long a page waits where nothing is known yet."""


class Background(Generic[T]):
    """Asks a question in a thread of its own and gives out the last answer meanwhile."""

    def __init__(self, ask: Callable[[], T], fresh_s: float) -> None:
        self._ask = ask
        self._fresh_s = fresh_s
        self._lock = threading.Lock()
        self._asking = False
        self._answer: T | None = None
        self._at = float("-inf")

    def latest(self) -> T | None:
        """Return the last answer, None when there was none in PATIENCE_S; asks anew when that is stale."""
        with self._lock:
            old = self._answer is None or time.monotonic() - self._at > self._fresh_s
            stale = old and not self._asking
            self._asking = self._asking or stale
        if stale:
            asked = DAEMONS.submit(self._run)
            if self._answer is None:
                try:
                    asked.result(PATIENCE_S)
                except NotYet:
                    return None
        return self._answer

    def _run(self) -> None:
        try:
            answer = self._ask()
            with self._lock:
                self._answer, self._at = answer, time.monotonic()
        finally:
            self._asking = False
