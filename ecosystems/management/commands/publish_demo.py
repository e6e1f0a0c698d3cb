"""`manage.py publish_demo crypto --transport redis`: synthetic signals through the real bus."""

import itertools
import math
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS, env
from ecosystems.bus import BusError, EventBus, Unsent
from ecosystems.shutdown import stop_on_signals
from ecosystems.signal import Signal
from ecosystems.strategies.prices import brackets

TRANSPORTS = ("database", "redis", "webhook")


START_PRICES = {
    "crypto": {"BTCUSDT": 64_250.0, "ETH-USDT": 3120.5, "BINANCE:SOLUSDT": 148.2, "DOGE/USDT": 0.12345},
    "forex": {"EUR_USD": 1.0845, "GBPUSD": 1.2673, "OANDA:USD_JPY": 151.32},
    "stock": {"NASDAQ:AAPL": 189.5, "MSFT": 415.1, "BRK.B": 411.75},
}
"""Symbols in the spellings of different agents."""

STEPS = {"crypto": 0.0015, "forex": 0.0002, "stock": 0.0008}
"""Usual moves from one signal to the next, as shares of the price."""
WEAK = 0.1
"""A move below this strength opens nothing: it closes the last call on its symbol, or advises to hold."""


def walk(ecosystem: str, seed: int) -> Iterator[Signal]:
    """Yield signals of random walks without end. A seed repeats them, except for ids and times."""
    source = random.Random(f"{ecosystem}:{seed}")  # noqa: S311 - prices, not secrets
    prices, step = dict(START_PRICES[ecosystem]), STEPS[ecosystem]
    open_calls: dict[str, str] = {}
    for symbol in itertools.cycle(prices):
        move = source.gauss(0, step)
        prices[symbol] *= math.exp(move)
        strength = min(abs(move) / (2 * step), 1.0)
        signal_id = f"demo-{ecosystem}-{time.time_ns()}"
        if strength < WEAK and symbol in open_calls:
            decision: dict[str, Any] = {"action": "CLOSE", "refers_to": open_calls.pop(symbol)}
        else:
            side = "BUY" if move > 0 else "SELL"
            decision = {"action": "HOLD" if strength < WEAK else side}
            risk = 4 * step * prices[symbol]
            levels = brackets(ecosystem, Decimal(prices[symbol]), side, risk, 2 * risk)
            decision |= zip(("entry_price", "stop_loss", "take_profit"), levels or (), strict=False)
        if decision["action"] in {"BUY", "SELL"}:
            open_calls[symbol] = signal_id
        yield Signal(
            signal_id=signal_id,
            ecosystem=ecosystem,
            timestamp=datetime.now(UTC),
            symbol=symbol,
            volume=Decimal(source.randrange(1, 500)) / 100,
            confidence=round(0.5 + strength / 2, 2),
            agent_source=f"demo-{ecosystem}",
            tags=("demo", "synthetic"),
            raw_payload={"synthetic": True},
            **decision,
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
