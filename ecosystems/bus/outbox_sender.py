"""Delivery from the outbox: one sender a transport, so that an outage of one does not delay another."""

import logging
import random
import threading
import time
from collections.abc import Callable

from ecosystems.bus.outbox import Outbox
from ecosystems.bus.receipts import Delivery
from ecosystems.bus.transport import BusError, Fate, Transport

SEND_BATCH = 1000
FIRST_RETRY_WAIT_S = 1.0
MAX_RETRY_WAIT_S = 60.0
POLL_INTERVAL_S = 5.0
"""How often an idle thread looks for signals that `manage.py outbox retry` made pending again."""

logger = logging.getLogger("signal_hub.bus")


class OutboxSender:
    """Sends a transport's signals from the outbox, in order, and waits longer after each failure.

    Calls of `run_once` do so, and between `start` and `stop` a thread of its own.
    """

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` is in seconds; `chance` returns 0 to 1 and spreads the tries of many agents."""
        self.transport = transport
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._due = clock()
        self._sending = threading.Lock()
        self._unrecorded: list[tuple[int, Fate]] = []
        self._wake = threading.Event()
        self._stopped = False
        name = f"outbox sender {transport.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def wait_s(self) -> float:
        """Return the seconds until the next try after a failure, or 0."""
        return max(self._due - self._clock(), 0.0)

    def run_once(self) -> Delivery | None:
        """Send one batch; None when there is nothing to send or the wait after a failure is not over.

        Raises OutboxError, after which it waits, too.
        """
        with self._sending:
            if self.wait_s() > 0:
                return None
            try:
                return self._deliver()
            except Exception as error:
                self._back_off(None, str(error) or type(error).__name__)
                raise

    def _deliver(self) -> Delivery | None:
        self._record()
        waiting = self._outbox.pending(self.transport.name, SEND_BATCH)
        if not waiting:
            return None
        entries = [entry for _, entry in waiting]
        fates = self.transport.send(entries)
        self._unrecorded = [(number, fate) for (number, _), fate in zip(waiting, fates, strict=True)]
        delivery = Delivery.of(self.transport.name, entries, fates)
        for refused in delivery.refused:
            logger.error("EventBus: %s (kept in the outbox)", refused)
        self._record()
        if delivery.pending:
            self._back_off(delivery.after, delivery.reason)
        elif self._failures:
            logger.info("EventBus: delivery by %s continues", self.transport.name)
            self._failures = 0
        return delivery

    def _record(self) -> None:
        """Record the result of a batch; on a full disk again later, before anything else is sent."""
        if self._unrecorded:
            self._outbox.record(self.transport.name, self._unrecorded)
            self._unrecorded = []

    def _back_off(self, after: float | None, reason: str) -> None:
        """Wait exponentially, never less than the receiver asks for, and up to half as long again."""
        wait = max(min(FIRST_RETRY_WAIT_S * 2**self._failures, MAX_RETRY_WAIT_S), after or 0.0)
        wait *= 1 + self._chance() / 2
        # Bounded, or the power would grow into a number that no float holds.
        self._failures = min(self._failures + 1, 30)
        self._due = self._clock() + wait
        logger.warning(
            "EventBus: delivery by %s waits: %s; next try in %.0f s", self.transport.name, reason, wait
        )

    def start(self) -> None:
        """Begin to send in the background."""
        self._thread.start()

    def wake(self) -> None:
        """Make the thread look for signals at once."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread when its batch is done."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            try:
                delivery = self.run_once()
            except BusError:
                delivery = None  # it is logged, and waits
            except Exception:
                logger.exception("EventBus: the outbox sender of %s failed", self.transport.name)
                delivery = None
            if delivery is None:
                self._wake.wait(min(self.wait_s() or POLL_INTERVAL_S, POLL_INTERVAL_S))
            self._wake.clear()  # before it looks again for signals and for the end
