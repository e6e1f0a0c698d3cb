"""`manage.py publish_demo crypto --transport redis`: synthetic signals through the real bus."""

import itertools
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from statistics import fmean
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS, env
from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.market.candles import Candle
from ecosystems.market.synthetic_feed import SyntheticFeed
from ecosystems.shutdown import stop_on_signals
from ecosystems.signal import Signal
from ecosystems.strategies.prices import brackets

TRANSPORTS = ("database", "redis", "webhook")


DEMO_SYMBOLS = {
    "crypto": ("BTCUSDT", "ETH-USDT", "BINANCE:SOLUSDT", "DOGE/USDT"),
    "forex": ("EUR_USD", "GBPUSD", "OANDA:USD_JPY"),
    "stock": ("NASDAQ:AAPL", "MSFT", "BRK.B"),
}
"""Symbols in the spellings of different agents."""
TREND_CANDLES = 10
"""A call goes with the trend of so many minutes."""
MIN_HELD, MAX_HELD = timedelta(minutes=2), timedelta(minutes=8)
"""When a call is closed that neither stop nor target has ended before."""


def walk(
    ecosystem: str, seed: int, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Signal]:
    """Yield signals on the made-up market of a seed without end: calls with its trend, and their closing.

    The hub records that market's prices, so that the calls are decided within minutes.
    """
    source = random.Random(f"{ecosystem}:{seed}")  # noqa: S311 - prices, not secrets
    feed = SyntheticFeed(ecosystem, seed, clock)
    held: dict[str, tuple[str, datetime]] = {}
    for symbol in itertools.cycle(DEMO_SYMBOLS[ecosystem]):
        now = clock()
        candles = list(feed.candles(symbol, "1m", now - (TREND_CANDLES + 1) * timedelta(minutes=1)))
        signal_id = f"demo-{ecosystem}-{time.time_ns()}"
        known = held.get(symbol)
        if known and known[1] <= now:
            decision: dict[str, Any] = {"action": "CLOSE", "refers_to": known[0]}
            del held[symbol]
        else:
            decision = _decision(ecosystem, candles, hold=known is not None)
        if decision["action"] in {"BUY", "SELL"}:
            held[symbol] = signal_id, now + source.uniform(0, 1) * (MAX_HELD - MIN_HELD) + MIN_HELD
        yield Signal(
            signal_id=signal_id,
            ecosystem=ecosystem,
            timestamp=now,
            symbol=symbol,
            volume=Decimal(source.randrange(1, 500)) / 100,
            confidence=round(source.uniform(0.5, 1), 2),
            agent_source=f"demo-{ecosystem}",
            tags=("demo", *feed.tags),
            raw_payload={"synthetic": True},
            **decision,
        )


def _decision(ecosystem: str, candles: list[Candle], *, hold: bool) -> dict[str, Any]:
    """Return a call with the trend, with stop and target by the usual range of a minute; or to hold."""
    closes = [float(candle.close) for candle in candles]
    side = "BUY" if closes[-1] >= fmean(closes) else "SELL"
    risk = 3 * fmean(float(candle.high - candle.low) for candle in candles)
    levels = brackets(ecosystem, candles[-1].close, side, risk, 1.5 * risk)
    found: dict[str, Any] = {"action": "HOLD" if hold or levels is None else side}
    return found | dict(zip(("entry_price", "stop_loss", "take_profit"), levels or (), strict=False))


class Command(BaseCommand):
    help = "Publish synthetic signals every few seconds until it is interrupted."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("ecosystem", choices=ECOSYSTEMS)
        parser.add_argument("--transport", choices=TRANSPORTS, required=True)
        parser.add_argument("--every", type=float, default=3.0, metavar="SECONDS")
        parser.add_argument("--count", type=int, metavar="N", help="end after this many signals")
        parser.add_argument("--seed", type=int, default=1)

    def handle(self, *args: Any, **options: Any) -> None:
        """Publish until SIGTERM, SIGINT or `--count`. Raises CommandError without a bus."""
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
        """Publish one signal and retry through an outage, whose begin and end are each reported once."""
        failed = False
        while not self._stopped.is_set():
            try:
                bus.publish(signal)
            except Unsent as error:
                if not failed:
                    self.stderr.write(str(error))
                failed = True
                if not error.receipt.pending:
                    return
                self._stopped.wait(pause)
            else:
                if failed:
                    self.stdout.write("published again")
                    self.stdout.flush()
                return
