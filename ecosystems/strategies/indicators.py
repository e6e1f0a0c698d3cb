"""talipp's indicators with a bounded memory and types.

talipp keeps every value. Here the oldest are purged; what is needed to continue stays.
"""

import math
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from talipp.indicators import ATR, EMA, RSI, DonchianChannels  # type: ignore[import-untyped]
from talipp.ohlcv import OHLCV  # type: ignore[import-untyped]

from ecosystems.market.candles import Candle

SEED_SHARE = 1e-15
"""The remaining weight of an average's first value after the warm-up: below a float's precision."""

V = TypeVar("V")
R = TypeVar("R")


class Indicator(Generic[V, R]):
    """A talipp indicator that keeps between `keep` and twice `keep` values."""

    def __init__(
        self,
        indicator: Any,
        period: int,
        value: Callable[[V], Any] = lambda value: value,
        result: Callable[[Any], R] = lambda result: result,
    ) -> None:
        """`value` and `result` convert what goes into talipp and what comes out of it."""
        self._indicator = indicator
        self._value = value
        self._result = result
        # With fewer than period + 1 values talipp treats the next one as the first and starts again.
        self._keep = 2 * period + 64

    def add(self, value: V) -> R | None:
        """Add the next value; return the indicator, None before it has values enough."""
        self._indicator.add(self._value(value))
        if len(self._indicator.input_values) >= 2 * self._keep:
            self._indicator.purge_oldest(self._keep)
        found = self._indicator[-1]
        return None if found is None else self._result(found)


def ema(period: int) -> Indicator[float, float]:
    """Return an exponential moving average, which starts as the mean of the first `period` values."""
    return Indicator(EMA(period), period)


def rsi(period: int) -> Indicator[float, float]:
    """Return Wilder's relative strength index, 0 to 100 (New Concepts in Technical Trading Systems, 1978)."""
    return Indicator(RSI(period), period)


def atr(period: int) -> Indicator[Candle, float]:
    """Return Wilder's average true range, in units of price."""
    return Indicator(ATR(period), period, _floats)


def channel(period: int) -> Indicator[Candle, tuple[float, float]]:
    """Return Donchian's channel: the lowest low and the highest high of the newest `period` candles."""
    return Indicator(DonchianChannels(period), period, _floats, lambda bands: (bands.lb, bands.ub))


def _floats(candle: Candle) -> OHLCV:
    return OHLCV(float(candle.open), float(candle.high), float(candle.low), float(candle.close))


def warm_up_length(period: int, *, wilder: bool = False) -> int:
    """Return how many values an average needs until its start no longer shows in the result.

    Wilder's averages weigh the newest value by 1/period, others by 2/(period + 1).
    """
    weight = 1 / period if wilder else 2 / (period + 1)
    return period if weight == 1 else period + math.ceil(math.log(SEED_SHARE) / math.log(1 - weight))
