"""A trading agent: candles of a feed go through a strategy, its signals onto the bus.

`python -m ecosystems.agent` runs one without Django; `manage.py run_agent` is the same.
"""

import logging
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from ecosystems.agent.heartbeat import heartbeat
from ecosystems.agent.progress import Progress
from ecosystems.bus import InvalidSignal, OutboxError
from ecosystems.market.candles import Candle, Feed, duration
from ecosystems.market.csv_feed import paced
from ecosystems.market.feeds import GRACE, INSTANT, FeedOutage
from ecosystems.signal import Signal
from ecosystems.strategies import Strategy

BATCH = 200
"""Signals of a fast replay that are put into the outbox together: each time costs a write to the disk."""

START_TRIES = 3
LONGEST_WAIT_S = 60.0
STRETCHES = (1, 2, 4, 8, 16)
"""How many times further back than the candles' own time their history may lie: nights, weekends, quiet."""

logger = logging.getLogger("signal_hub.agent")


class Stop(Protocol):
    """What tells the agent to end: `threading.Event` does."""

    def is_set(self) -> bool: ...

    def wait(self, timeout: float) -> bool: ...


class Sink(Protocol):
    """Where signals go."""

    def publish(self, signals: list[Signal]) -> None:
        """Keep or send signals. Raises OutboxError to have them offered again, InvalidSignal to skip one."""

    def is_clear(self) -> bool:
        """Tell whether everything that was published has arrived."""


class Agent:
    """One strategy on one market. `run` goes on until it is stopped, and one turn is `run_once`."""

    def __init__(
        self,
        strategy: Strategy[Any],
        feed: Feed,
        sink: Sink,
        *,
        progress: Progress,
        stop: Stop,
        finite: bool = False,
        speed: float | None = None,
        catch_up: timedelta = timedelta(days=1),
        heartbeat: timedelta | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`finite` marks a feed that ends, all of which is handled however old; `speed` paces its candles.

        After a restart, signals of candles that closed within `catch_up` are made up for, older ones are not.
        """
        self.strategy = strategy
        self.feed = feed
        self.sink = sink
        self.progress = progress
        self.finite = finite
        self.handled = 0
        self.signals = 0
        self._stop = stop
        self._speed = speed
        self._length = duration(strategy.timeframe)
        self._catch_up = max(catch_up, 3 * self._length)
        self._heartbeat = heartbeat
        self._clock = clock
        self._last: datetime | None = None
        self._ready: list[Signal] = []
        self._silent_until = datetime.min.replace(tzinfo=UTC)
        self._silent_count = 0
        self._beaten: datetime | None = None

    def start(self) -> None:
        """Warm the strategy up; no signal of a candle that was handled before, or is too old, is given.

        Raises FeedError, also for an outage that lasts over three tries: at the start it is likely a typo.
        """
        if self.finite:
            self._silent_until = self.progress.last or self._silent_until
            self._silent_count = self.strategy.history
        else:
            self._patiently(self._warm_up)
        since = "the end of the history" if self.progress.last is None else self.progress.last.isoformat()
        logger.info(
            "agent: %s on %s %s as %r, signals after %s",
            self.strategy.name,
            self.strategy.symbol,
            self.strategy.timeframe,
            self.strategy.agent,
            since,
        )

    def _patiently(self, step: Callable[[], None]) -> None:
        for number in range(1, START_TRIES + 1):
            try:
                step()
                break
            except FeedOutage as outage:
                if number == START_TRIES or self._stop.is_set():
                    raise
                wait = min(outage.after or float(number), LONGEST_WAIT_S)
                logger.warning("agent: %s; next try in %.0f s", outage, wait)
                self._stop.wait(wait)

    def _warm_up(self) -> None:
        """Give the strategy its history up to where signals begin, and remember what came after."""
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
        self._silent_until = begin - self._length
        if known:
            self._silent_until = self._last = known[-1].timestamp
            self.progress.save(self._last)

    def _history(self, begin: datetime) -> list[Candle]:
        """Return enough candles for the strategy up to `begin`, or all that the feed has."""
        candles: list[Candle] = []
        for stretch in STRETCHES:
            since = begin - (stretch * self.strategy.history + 1) * self._length
            candles = list(self.feed.candles(self.strategy.symbol, self.strategy.timeframe, since))
            if sum(candle.timestamp <= begin for candle in candles) >= self.strategy.history:
                break
        return candles

    def run_once(self) -> int:
        """Handle the candles that closed since the last one; return how many those were.

        Raises FeedError; what was handled before that is kept.
        """
        before = self.handled
        try:
            for candle in self._candles():
                self._handle(candle)
                if self._stop.is_set():
                    break
        finally:
            self._settle()
        return self.handled - before

    def _candles(self) -> Iterator[Candle]:
        since = None if self._last is None else self._last + INSTANT
        candles: Iterable[Candle] = self.feed.candles(self.strategy.symbol, self.strategy.timeframe, since)
        if self._speed is None:
            yield from candles
        else:
            yield from paced(candles, self.strategy.timeframe, self._speed, self._stop.wait)

    def _handle(self, candle: Candle) -> None:
        signal = self.strategy.on_candle(candle)
        self._last = candle.timestamp
        self.handled += 1
        if self._silent_count > 0:
            self._silent_count -= 1
        elif signal is not None and candle.timestamp > self._silent_until:
            self._ready.append(signal)
        if self._speed is not None or len(self._ready) >= BATCH:
            self._settle()

    def _settle(self) -> None:
        """Publish what is ready and keep how far that is; waits while the outbox cannot take it."""
        waits = 0
        while self._ready:
            try:
                self.sink.publish(self._ready)
                self.signals += len(self._ready)
                self._ready = []
            except InvalidSignal as error:
                logger.error("agent: %s; it is left out", error)
                self._ready.remove(error.signal)
            except OutboxError as error:
                wait = min(2.0**waits, LONGEST_WAIT_S)
                waits += 1
                logger.error("agent: %s; next try in %.0f s", error, wait)
                if self._stop.wait(wait):
                    return  # not kept, so not noted as handled: the next start gives the same signals
        if self._last is not None:
            self.progress.save(self._last)

    def run(self) -> None:
        """Go on until it is stopped, or the feed ends. Raises FeedError for what no waiting mends."""
        failures = 0
        while not self._stop.is_set():
            try:
                self.run_once()
            except FeedOutage as outage:
                wait = max(min(2.0**failures, LONGEST_WAIT_S), outage.after or 0.0)
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
            self.beat()
            self._stop.wait(self.pause())

    def pause(self) -> float:
        """Return the seconds until the next candle may be there, at most a minute."""
        often = min(max(self._length.total_seconds() / 20, 1.0), LONGEST_WAIT_S)
        if self._last is None:
            return often
        due = self._last + 2 * self._length + GRACE - self._clock()
        return min(max(due.total_seconds(), often), LONGEST_WAIT_S)

    def beat(self) -> None:
        """Send a sign of life when one is due and nothing waits: an outage's backlog proves life enough.

        Called after the feed has answered, so that an agent that cannot see its market is not taken for a
        quiet one.
        """
        if self._heartbeat is None:
            return
        every = self._heartbeat.total_seconds()
        slot = datetime.fromtimestamp(self._clock().timestamp() // every * every, UTC)
        if slot == self._beaten or not self.sink.is_clear():
            return
        try:
            self.sink.publish([heartbeat(self.strategy, slot)])
        except OutboxError as error:
            logger.error("agent: no sign of life: %s", error)
        self._beaten = slot
