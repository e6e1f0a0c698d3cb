"""`manage.py publish_demo crypto --transport redis`: synthetic signals through the real bus."""

import itertools
import math
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS, env
from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.shutdown import stop_on_signals
from ecosystems.signal import Signal

TRANSPORTS = ("database", "redis", "webhook")


@dataclass(frozen=True)
class Market:
    """A symbol as an agent may write it, a plausible price and how far that moves in a step."""

    symbol: str
    price: str
    tick: str
    step: float


MARKETS = {
    "crypto": [
        Market("BTCUSDT", "64250.00", "0.01", 0.0012),
        Market("ETH-USDT", "3120.50", "0.01", 0.0015),
        Market("BINANCE:SOLUSDT", "148.20", "0.01", 0.0020),
        Market("DOGE/USDT", "0.12345", "0.00001", 0.0025),
    ],
    "forex": [
        Market("EUR_USD", "1.08450", "0.00001", 0.0002),
        Market("GBPUSD", "1.26730", "0.00001", 0.0002),
        Market("OANDA:USD_JPY", "151.320", "0.001", 0.0003),
    ],
    "stock": [
        Market("NASDAQ:AAPL", "189.50", "0.01", 0.0008),
        Market("MSFT", "415.10", "0.01", 0.0008),
        Market("BRK.B", "411.75", "0.01", 0.0006),
    ],
}


def walk(ecosystem: str, seed: int) -> Iterator[Signal]:
    """Yield signals of random walks without end. A seed repeats them, except for ids and times."""
    source = random.Random(f"{ecosystem}:{seed}")  # noqa: S311 - prices, not secrets
    prices = {market.symbol: float(market.price) for market in MARKETS[ecosystem]}
    for market in itertools.cycle(MARKETS[ecosystem]):
        move = source.gauss(0, market.step)
        prices[market.symbol] *= math.exp(move)
        yield _signal(ecosystem, market, prices[market.symbol], move, source)


def _signal(ecosystem: str, market: Market, price: float, move: float, source: random.Random) -> Signal:
    def rounded(value: float) -> Decimal:
        return Decimal(value).quantize(Decimal(market.tick))

    strength = min(abs(move) / (2 * market.step), 1.0)
    rising = 1 if move > 0 else -1
    reach = 4 * market.step * rising
    return Signal(
        signal_id=f"demo-{ecosystem}-{time.time_ns()}",
        ecosystem=ecosystem,
        timestamp=datetime.now(UTC),
        symbol=market.symbol,
        action="HOLD" if strength < 0.1 else "BUY" if move > 0 else "SELL",
        entry_price=rounded(price),
        stop_loss=rounded(price * (1 - reach)),
        take_profit=rounded(price * (1 + 2 * reach)),
        volume=Decimal(source.randrange(1, 500)) / 100,
        confidence=round(0.5 + strength / 2, 2),
        agent_source=f"demo-{ecosystem}",
        tags=("demo", "synthetic"),
        raw_payload={"synthetic": True},
    )


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
