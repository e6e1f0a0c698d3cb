"""talipp's indicators with a bounded memory and types.

talipp keeps every value. Here the oldest are purged; what is needed to continue stays.
"""

import math
from typing import Any

from talipp.indicators import ATR, EMA, RSI, DonchianChannels  # type: ignore[import-untyped]
from talipp.ohlcv import OHLCV  # type: ignore[import-untyped]

from ecosystems.market.candles import Candle

SEED_SHARE = 1e-15
"""The remaining weight of an average's first value after the warm-up: below a float's precision."""


class _Bounded:
    """One talipp indicator that remembers between `keep` and twice `keep` values."""

    def __init__(self, indicator: Any, period: int) -> None:
        self._indicator = indicator
        # With fewer than period + 1 values talipp treats the next one as the first and starts again.
        self._keep = 2 * period + 64

    def _add(self, value: Any) -> Any:
        self._indicator.add(value)
        if len(self._indicator.input_values) >= 2 * self._keep:
            self._indicator.purge_oldest(self._keep)
        return self._indicator[-1]


class Ema(_Bounded):
    """Exponential moving average, seeded with the plain mean of the first `period` values."""

    def __init__(self, period: int) -> None:
        super().__init__(EMA(period), period)

    def add(self, value: float) -> float | None:
        """Add the next value; return the average, None before `period` values."""
        average: float | None = self._add(value)
        return average


class Rsi(_Bounded):
    """Wilder's relative strength index, 0 to 100 ("New Concepts in Technical Trading Systems", 1978)."""

    def __init__(self, period: int) -> None:
        super().__init__(RSI(period), period)

    def add(self, value: float) -> float | None:
        """Add the next value; return the index, None before `period` + 1 values."""
        index: float | None = self._add(value)
        return index


class Atr(_Bounded):
    """Wilder's average true range, in units of price."""

    def __init__(self, period: int) -> None:
        super().__init__(ATR(period), period)

    def add(self, candle: Candle) -> float | None:
        """Add the next candle; return the range, None before `period` candles."""
        average: float | None = self._add(_floats(candle))
        return average


class Channel(_Bounded):
    """Donchian's channel: the lowest low and the highest high of the newest `period` candles."""

    def __init__(self, period: int) -> None:
        super().__init__(DonchianChannels(period), period)

    def add(self, candle: Candle) -> tuple[float, float] | None:
        """Add the next candle; return (lowest, highest), None before `period` candles."""
        bands = self._add(_floats(candle))
        return None if bands is None else (bands.lb, bands.ub)


def _floats(candle: Candle) -> OHLCV:
    return OHLCV(float(candle.open), float(candle.high), float(candle.low), float(candle.close))


def warm_up_length(period: int, *, wilder: bool = False) -> int:
    """Return how many values an average needs until its start no longer shows in the result.

    Wilder's averages weigh the newest value by 1/period, others by 2/(period + 1).
    """
    weight = 1 / period if wilder else 2 / (period + 1)
    return period if weight == 1 else period + math.ceil(math.log(SEED_SHARE) / math.log(1 - weight))
