"""Trend following: a fast moving average crosses a slow one."""

from ecosystems.market.candles import Candle
from ecosystems.strategies import indicators
from ecosystems.strategies.strategy import Decision, Parameters, Period, Strategy

STEEP = 0.2
"""Change of the gap in one candle, in average true ranges, from which a crossing has full confidence."""


class EmaParameters(Parameters, frozen=True, kw_only=True):
    """Periods of the two averages; 12 and 26 are those of Appel's MACD."""

    fast: Period = 12
    slow: Period = 26

    def __post_init__(self) -> None:
        if self.fast >= self.slow:
            raise ValueError(f"fast must be below slow, not {self.fast} and {self.slow}")


class EmaCrossover(Strategy[EmaParameters]):
    """BUY when the fast average rises above the slow one, SELL when it falls below.

    Confidence is 0.5 for a crossing that hardly moves and rises with its steepness, the change of the gap
    between the averages over the candle, to 1 at 0.2 average true ranges. It ranks signals of this
    strategy; it is not a probability.
    """

    name = "ema_crossover"
    schema = EmaParameters

    def prepare(self) -> None:
        self._fast = indicators.ema(self.parameters.fast)
        self._slow = indicators.ema(self.parameters.slow)
        self._atr = indicators.atr(self.parameters.atr_period)
        self._gap: float | None = None

    @property
    def history(self) -> int:
        return max(
            indicators.warm_up_length(self.parameters.slow),
            indicators.warm_up_length(self.parameters.atr_period, wilder=True),
        )

    def decide(self, candle: Candle) -> Decision | None:
        close = float(candle.close)
        fast, slow, atr = self._fast.add(close), self._slow.add(close), self._atr.add(candle)
        before = self._gap
        if fast is None or slow is None:
            return None
        gap = self._gap = fast - slow
        if before is None or not atr:
            return None
        if not (before <= 0 < gap or gap < 0 <= before):
            return None
        return self.entry(1 if gap > 0 else -1, abs(gap - before) / atr / STEEP, atr)
