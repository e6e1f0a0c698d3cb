"""A trading agent: it runs candles of a feed through a strategy and publishes the signals.

`python -m ecosystems.agent` runs one without Django; `manage.py run_agent` is the same.
"""

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from ecosystems.agent.heartbeat import heartbeat
from ecosystems.agent.progress import Progress
from ecosystems.bus import EventBus, InvalidSignal, OutboxError
from ecosystems.market.candles import Candle, duration
from ecosystems.market.csv_feed import paced
from ecosystems.market.feeds import Feed, FeedOutage
from ecosystems.market.live_feeds import CLOSE_GRACE, INSTANT
from ecosystems.signal import Signal
from ecosystems.strategies import Strategy

REPLAY_BATCH = 200
"""Signals of a fast replay that are published together, because each call costs a write to the disk."""

START_TRIES = 3
MAX_POLL_WAIT_S = 60.0
HISTORY_FACTORS = (1, 2, 4, 8, 16)
"""Multiples of the history's length to look back by: nights, weekends and pauses have no candles."""

logger = logging.getLogger("signal_hub.agent")


class Agent:
    """One strategy on one market. `run` repeats `run_once` until it is stopped."""

    def __init__(
        self,
        strategy: Strategy[Any],
        feed: Feed,
        bus: EventBus,
        *,
        progress: Progress,
        stop: threading.Event,
        finite: bool = False,
        speed: float | None = None,
        catch_up: timedelta = timedelta(days=1),
        heartbeat: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`finite` marks a feed that ends, whose candles are all handled, however old; `speed` paces them.

        After a restart, the signals of candles that closed within `catch_up` are sent, older ones are not.
        """
        self.strategy = strategy
        self.feed = feed
        self.bus = bus
        self.progress = progress
        self.finite = finite
        self.handled = 0
        self.signals = 0
        self._stop = stop
        self._speed = speed
        self._length = duration(strategy.timeframe)
        self._catch_up = max(catch_up, 3 * self._length)
        self._heartbeat_interval = heartbeat
        self._clock = clock
        self._last: datetime | None = None
        self._ready: list[Signal] = []
        self._no_signals_until = datetime.min.replace(tzinfo=UTC)
        self._no_signals_for = 0
        self._last_heartbeat: datetime | None = None

    def start(self) -> None:
        """Warm the strategy up; candles that were handled before or are too old give no signals.

        Raises FeedError, also for an outage that lasts for three tries: at the start it is likely a typo.
        """
        if self.finite:
            self._no_signals_until = self.progress.last or self._no_signals_until
            self._no_signals_for = self.strategy.history
        else:
            self._try_to_warm_up()
        since = "the end of the history" if self.progress.last is None else self.progress.last.isoformat()
        logger.info(
            "agent: %s on %s %s as %r, signals after %s",
            self.strategy.name,
            self.strategy.symbol,
            self.strategy.timeframe,
            self.strategy.agent,
            since,
        )

    def _try_to_warm_up(self) -> None:
        for number in range(1, START_TRIES + 1):
            try:
                self._warm_up()
                break
            except FeedOutage as outage:
                if number == START_TRIES or self._stop.is_set():
                    raise
                wait = min(outage.after or float(number), MAX_POLL_WAIT_S)
                logger.warning("agent: %s; next try in %.0f s", outage, wait)
                self._stop.wait(wait)

    def _warm_up(self) -> None:
        """Run the strategy over the history before the first signal."""
        now = self._clock()
        oldest = now - self._catch_up
        begin = now if self.progress.last is None else max(self.progress.last, oldest - self._length)
        candles = self._history(begin)
        known = [candle for candle in candles if candle.timestamp <= begin]
        if len(known) < self.strategy.history:
            logger.warning(
                "agent: the feed has %d of the %d candles of history that %s needs: first signals may differ",
                len(known),
                self.strategy.history,
                self.strategy.name,
            )
        self.strategy.warm_up(known)
        self._no_signals_until = begin - self._length
        if known:
            self._no_signals_until = self._last = known[-1].timestamp
            self.progress.save(self._last)

    def _history(self, begin: datetime) -> list[Candle]:
        """Return the candles that the strategy needs before `begin`, or all that the feed has."""
        candles: list[Candle] = []
        for factor in HISTORY_FACTORS:
            since = begin - (factor * self.strategy.history + 1) * self._length
            candles = list(self.feed.candles(self.strategy.symbol, self.strategy.timeframe, since))
            if sum(candle.timestamp <= begin for candle in candles) >= self.strategy.history:
                break
        return candles

    def run_once(self) -> None:
        """Handle the candles that closed since the last one.

        Raises FeedError; what was handled before it stays handled.
        """
        try:
            for candle in self._candles():
                self.handle(candle)
                if self._stop.is_set():
                    break
        finally:
            self._publish_ready()

    def _candles(self) -> Iterator[Candle]:
        since = None if self._last is None else self._last + INSTANT
        candles: Iterable[Candle] = self.feed.candles(self.strategy.symbol, self.strategy.timeframe, since)
        if self._speed is None:
            yield from candles
        else:
            yield from paced(candles, self.strategy.timeframe, self._speed, self._stop.wait)

    def handle(self, candle: Candle) -> None:
        """Run the strategy on a candle; publish its signal at once or with the next batch."""
        signal = self.strategy.on_candle(candle)
        self._last = candle.timestamp
        self.handled += 1
        if self._no_signals_for > 0:
            self._no_signals_for -= 1
        elif signal is not None and candle.timestamp > self._no_signals_until:
            self._ready.append(signal)
        if self._speed is not None or len(self._ready) >= REPLAY_BATCH:
            self._publish_ready()

    def _publish_ready(self) -> None:
        """Publish the signals and save the progress; wait while the outbox cannot store them."""
        waits = 0
        while self._ready:
            try:
                self.bus.publish_many(self._ready)
                self.signals += len(self._ready)
                self._ready = []
            except InvalidSignal as error:
                logger.error("agent: %s; the signal is skipped", error)
                self._ready.remove(error.signal)
            except OutboxError as error:
                wait = min(2.0**waits, MAX_POLL_WAIT_S)
                waits += 1
                logger.error("agent: %s; next try in %.0f s", error, wait)
                if self._stop.wait(wait):
                    return  # without saving the progress: the next start gives the same signals again
        if self._last is not None:
            self.progress.save(self._last)

    def run(self) -> None:
        """Handle candles until it is stopped or the feed ends. Raises FeedError for what is no outage."""
        failures = 0
        while not self._stop.is_set():
            try:
                self.run_once()
            except FeedOutage as outage:
                wait = max(min(2.0**failures, MAX_POLL_WAIT_S), outage.after or 0.0)
                wait *= 1 + random.random() / 4  # noqa: S311 - spreads the tries of many agents
                failures = min(failures + 1, 30)
                logger.warning("agent: %s; next try in %.0f s", outage, wait)
                self._stop.wait(wait)
                continue
            if failures:
                logger.info("agent: the feed answers again")
                failures = 0
            if self.finite:
                return
            self.send_heartbeat()
            self._stop.wait(self.poll_delay())

    def poll_delay(self) -> float:
        """Return the seconds until the next candle can be closed, at most a minute."""
        interval = min(max(self._length.total_seconds() / 20, 1.0), MAX_POLL_WAIT_S)
        if self._last is None:
            return interval
        due = self._last + 2 * self._length + CLOSE_GRACE - self._clock()
        return min(max(due.total_seconds(), interval), MAX_POLL_WAIT_S)

    def send_heartbeat(self) -> None:
        """Send a heartbeat when one is due, unless signals wait to be delivered, which are sign enough.

        Called after the feed has answered, so that an agent without its feed does not look healthy.
        """
        if self._heartbeat_interval is None:
            return
        interval = self._heartbeat_interval.total_seconds()
        slot = datetime.fromtimestamp(self._clock().timestamp() // interval * interval, UTC)
        if slot == self._last_heartbeat:
            return
        try:
            if self.bus.backlog():
                return
            self.bus.publish(heartbeat(self.strategy, slot, self._heartbeat_interval))
        except OutboxError as error:
            logger.error("agent: no heartbeat: %s", error)
        self._last_heartbeat = slot
