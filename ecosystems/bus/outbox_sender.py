"""Delivery from the outbox: one courier a transport, so that an outage of one does not hold up another."""

import logging
import random
import threading
import time
from collections.abc import Callable

from ecosystems.bus.outbox import Outbox
from ecosystems.bus.receipts import Delivery
from ecosystems.bus.transport import BusError, Fate, Transport

BATCH = 1000
FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 60.0
LOOK_S = 5.0
"""How often a waiting thread looks for signals that `manage.py outbox retry` made pending again."""

logger = logging.getLogger("signal_hub.bus")


class Courier:
    """Takes a transport's signals out of the outbox, in order, and waits longer after each failure."""

    def __init__(
        self,
        outbox: Outbox,
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`clock` is in seconds; `chance` gives 0 to 1 and spreads the tries of many agents."""
        self.transport = transport
        self._outbox = outbox
        self._clock = clock
        self._chance = chance
        self._failures = 0
        self._due = clock()
        self._turn = threading.Lock()
        self._unsettled: list[tuple[int, Fate]] = []

    def wait_s(self) -> float:
        """Seconds until the next try after a failure, or 0."""
        return max(self._due - self._clock(), 0.0)

    def run_once(self) -> Delivery | None:
        """Send one batch; None when there is nothing to send or the wait after a failure is not over.

        Raises OutboxError, after which it waits, too.
        """
        with self._turn:
            if self.wait_s() > 0:
                return None
            try:
                return self._deliver()
            except Exception as error:
                self._back_off(None, str(error) or type(error).__name__)
                raise

    def _deliver(self) -> Delivery | None:
        self._settle()
        waiting = self._outbox.pending(self.transport.name, BATCH)
        if not waiting:
            return None
        entries = [entry for _, entry in waiting]
        fates = self.transport.send(entries)
        self._unsettled = [(number, fate) for (number, _), fate in zip(waiting, fates, strict=True)]
        delivery = Delivery.of(self.transport.name, entries, fates)
        for parked in delivery.parked:
            logger.error("EventBus: %s (parked in the outbox)", parked)
        self._settle()
        if delivery.pending:
            self._back_off(delivery.after, delivery.reason)
        else:
            self._recovered()
        return delivery

    def _settle(self) -> None:
        """Write down what became of a batch; again later, before anything else is sent, on a full disk."""
        if self._unsettled:
            self._outbox.settle(self.transport.name, self._unsettled)
            self._unsettled = []

    def _back_off(self, after: float | None, reason: str) -> None:
        """Wait exponentially, never less than the other side asks for, and up to half as long again."""
        wait = max(min(FIRST_WAIT_S * 2**self._failures, LONGEST_WAIT_S), after or 0.0)
        wait *= 1 + self._chance() / 2
        # Bounded, or the power would grow into a number that no float holds.
        self._failures = min(self._failures + 1, 30)
        self._due = self._clock() + wait
        logger.warning(
            "EventBus: delivery by %s waits: %s; next try in %.0f s", self.transport.name, reason, wait
        )

    def _recovered(self) -> None:
        if self._failures:
            logger.info("EventBus: delivery by %s goes on", self.transport.name)
        self._failures = 0


class CourierThread:
    """Runs a courier in the background until it is stopped."""

    def __init__(self, courier: Courier) -> None:
        self._courier = courier
        self._wake = threading.Event()
        self._stopped = False
        name = f"courier of {courier.transport.name}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something to send."""
        self._wake.set()

    def stop(self) -> None:
        """End the thread when its batch is done."""
        self._stopped = True
        self._wake.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            if self._turn() is None:
                self._wake.wait(min(self._courier.wait_s() or LOOK_S, LOOK_S))

    def _turn(self) -> Delivery | None:
        try:
            return self._courier.run_once()
        except BusError:
            return None  # the courier has said why, and waits
        except Exception:
            logger.exception("EventBus: the courier of %s failed", self._courier.transport.name)
            return None
