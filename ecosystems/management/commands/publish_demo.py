"""`manage.py publish_demo crypto --transport redis`: synthetic signals through the real bus."""

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS, env
from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.market.candles import duration
from ecosystems.market.synthetic_feed import SyntheticFeed
from ecosystems.shutdown import stop_on_signals
from ecosystems.signal import Signal
from ecosystems.strategies import BUILT_IN, Strategy, load_strategy

TRANSPORTS = ("database", "redis", "webhook")
DAY_S = 86_400

DEMO_SYMBOLS = {
    "crypto": ("BTCUSDT", "ETH-USDT", "BINANCE:SOLUSDT", "DOGE/USDT"),
    "forex": ("EUR_USD", "GBPUSD", "OANDA:USD_JPY"),
    "stock": ("NASDAQ:AAPL", "MSFT", "BRK.B"),
}
"""Symbols in the spellings of different agents."""
TIMEFRAME = "10s"
"""So short that calls arrive within the first minute: on all symbols together some four a minute."""
BRACKET = {"stop_atr": 6.0, "target_atr": 9.0}
"""In ranges of such candles, wide enough that the minutes by which calls are scored tell stop from target."""
CATCH_UP = timedelta(minutes=2)
"""An agent that starts sends what it missed, so that a new hub has its first calls at once."""


class Trader:
    """One built-in strategy on one symbol of the made-up market."""

    def __init__(self, feed: SyntheticFeed, strategy: Strategy[Any], start: datetime) -> None:
        """Warm the strategy up on the candles that opened before `start`."""
        self.strategy = strategy
        self._candles = partial(feed.candles, strategy.symbol, TIMEFRAME)
        self._seen = start
        history = self._candles(start - strategy.history * duration(TIMEFRAME))
        strategy.warm_up(itertools.takewhile(lambda candle: candle.timestamp < start, history))

    def signals(self) -> Iterator[Signal]:
        """Yield what the strategy makes of the candles that have closed since."""
        for candle in self._candles(self._seen):
            self._seen = candle.timestamp
            if signal := self.strategy.on_candle(candle):
                yield signal

    def hold(self, now: datetime) -> Signal:
        """Return the signal that nothing is to be done."""
        return Signal(
            signal_id=f"demo-{self.strategy.ecosystem}-{time.time_ns()}",
            ecosystem=self.strategy.ecosystem,
            timestamp=now,
            symbol=self.strategy.symbol,
            action="HOLD",
            agent_source=self.strategy.agent,
            tags=self.strategy.tags,
            raw_payload={"strategy": self.strategy.name},
        )


def walk(
    ecosystem: str, seed: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Signal]:
    """Yield signals of the built-in strategies on the made-up market of a seed, without end.

    Where a strategy decides nothing, it holds. The hub records that market's prices, so that calls are
    decided within minutes.
    """
    feed, start = SyntheticFeed(ecosystem, seed, clock), clock() - CATCH_UP
    agent, tags = f"demo-{ecosystem}", ("demo", *feed.tags)
    traders = [
        Trader(feed, load_strategy(name)(ecosystem, symbol, TIMEFRAME, agent, tags=tags, **BRACKET), start)
        for symbol, name in zip(DEMO_SYMBOLS[ecosystem], itertools.cycle(BUILT_IN), strict=False)
    ]
    for trader in itertools.cycle(traders):
        if decided := list(trader.signals()):
            yield from decided
        else:
            yield trader.hold(clock())


class Command(BaseCommand):
    help = "Publish synthetic signals every few seconds until it is interrupted."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ecosystem", choices=ECOSYSTEMS)
        parser.add_argument("--transport", choices=TRANSPORTS, required=True)
        parser.add_argument("--every", type=float, default=3.0, metavar="SECONDS")
        parser.add_argument("--count", type=int, metavar="N", help="end after this many signals")
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish until SIGTERM, SIGINT or `--count`. Raises CommandError for wrong numbers, or no bus."""
        if (options["count"] or 0) < 0:
            raise CommandError("--count must be 0 or more")
        if not 0 <= options["every"] <= DAY_S:
            raise CommandError(f"--every must be from 0 to {DAY_S} seconds")
        self._stopped = stop_on_signals()
        try:
            bus = EventBus.from_environment(
                env.load(), ecosystem=options["ecosystem"], backend=options["transport"]
            )
        except (BusError, env.InvalidEnvironment) as error:
            raise CommandError(str(error)) from error
        with bus:
            for signal in itertools.islice(walk(options["ecosystem"], options["seed"]), options["count"]):
                self._publish(bus, signal, options["every"])
                if self._stopped.wait(options["every"]):
                    break

    def _publish(self, bus: EventBus, signal: Signal, pause: float) -> None:
        """Publish one signal and retry through an outage, whose begin and end are each reported once.

        One that the next try ends is not worth a line: the hub and its demo start together.
        """
        failures = 0
        while not self._stopped.is_set():
            try:
                bus.publish(signal)
            except Unsent as error:
                failures += 1
                if failures == 2 or not error.receipt.pending:
                    self.stderr.write(str(error))
                if not error.receipt.pending:
                    return
                self._stopped.wait(pause)
            else:
                if failures > 1:
                    self.stdout.write("published again")
                    self.stdout.flush()
                return
