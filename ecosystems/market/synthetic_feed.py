"""A made-up market for demonstrations and tests, labelled as such in every signal that is made from it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from math import exp, floor, sqrt
from zlib import crc32

from ecosystems.market.candles import Candle, duration
from ecosystems.market.feeds import SYNTHETIC
from ecosystems.market.symbols import instrument

BASE_PRICE = {"crypto": 30_000.0, "forex": 1.1, "stock": 150.0}
PERIODS = tuple(2**k for k in range(17))
"""Periods of the market's waves in minutes, up to some six weeks."""
STEP = 0.0003
"""Size of the one-minute wave, as a share of the price."""
SYNTHETIC_CANDLES = 1000


class SyntheticFeed:
    """A made-up market that follows from its seed.

    A price is a function of time alone: a sum of smooth noises whose sizes grow with the root of their
    periods, as a random walk's do. So a restarted agent sees the same candles wherever it begins, and
    1m candles add up to 5m ones; a walk drawn step by step would give neither.
    """

    def __init__(
        self, ecosystem: str, seed: int = 0, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        # Another seed's market is another one: the hub prices its calls by the tag.
        self.tags: tuple[str, ...] = (SYNTHETIC, f"{SYNTHETIC}:{seed}") if seed else (SYNTHETIC,)
        self._ecosystem = ecosystem
        self._base = BASE_PRICE[ecosystem]
        self._seed = seed
        self._clock = clock

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:
        """Yield every closed candle from `since` on; without it, the newest thousand.

        Raises ValueError for an invalid timeframe.
        """
        seconds = int(duration(timeframe).total_seconds())
        # By the instrument, so that all spellings of a symbol have the same prices.
        key = crc32(f"{self._seed}:{instrument(self._ecosystem, symbol)}".encode())
        now = int(self._clock().timestamp()) // seconds
        first = now - SYNTHETIC_CANDLES if since is None else -(-since.timestamp() // seconds)
        for number in range(int(first), now):
            yield self._candle(key, number * seconds, seconds)

    def _candle(self, key: int, start: int, seconds: int) -> Candle:
        path = [self._base * exp(_level(key, (start + seconds * n / 4) / 60)) for n in range(5)]
        opening, *_, close = prices = [Decimal(f"{price:.6g}") for price in path]
        volume = Decimal(round(1000 * (1.5 + _noise(key, -1, start)) * seconds / 60))
        return Candle(datetime.fromtimestamp(start, UTC), opening, max(prices), min(prices), close, volume)


def _level(key: int, minute: float) -> float:
    """Return the logarithm of the price at a time, relative to the base."""
    level = 0.0
    for period in PERIODS:
        position = minute / period
        cell = floor(position)
        share = position - cell
        before, after = _noise(key, period, cell), _noise(key, period, cell + 1)
        level += sqrt(period) * (before + (after - before) * share * share * (3 - 2 * share))
    return STEP * level


@lru_cache(maxsize=4096)
def _noise(key: int, period: int, cell: int) -> float:
    """Return a number from -1 to 1 that looks random and is always the same (SplitMix64's mixing steps)."""
    mixed = (key * 0x9E3779B97F4A7C15 + period * 0xD1342543DE82EF95 + cell * 0xBF58476D1CE4E5B9) % 2**64
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
    return (mixed ^ (mixed >> 31)) / 2**63 - 1
