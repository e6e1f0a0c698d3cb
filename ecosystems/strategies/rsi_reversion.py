"""Mean reversion: the index comes back from an extreme."""

from typing import Annotated

import msgspec

from ecosystems.market.candles import Candle
from ecosystems.strategies import indicators
from ecosystems.strategies.strategy import EXIT, Decision, Parameters, Period, Strategy

Level = Annotated[float, msgspec.Meta(gt=0, lt=100)]


class RsiParameters(Parameters, frozen=True, kw_only=True):
    """Period and levels of the relative strength index; 14, 30 and 70 are Wilder's, 50 is the middle."""

    rsi_period: Period = 14
    oversold: Level = 30.0
    overbought: Level = 70.0
    exit: Level = 50.0

    def __post_init__(self) -> None:
        if self.oversold >= self.overbought:
            raise ValueError(f"oversold must be below overbought, not {self.oversold} and {self.overbought}")
        if not self.oversold < self.exit < self.overbought:
            raise ValueError(f"exit must lie between oversold and overbought, not at {self.exit}")


class RsiReversion(Strategy[RsiParameters]):
    """BUY when the index comes back up to the oversold level, SELL when it comes back down to the overbought.
    CLOSE when it has come back to the exit level: what was to be reverted is reverted.

    It waits for the return, because an index may stay at an extreme for long. Confidence is 0.5 for a
    return from just beyond the level and rises with the depth of the candle before, to 1 for one from
    halfway to the end of the scale (15 or 85). It ranks signals of this strategy; it is not a probability.
    """

    name = "rsi_reversion"
    schema = RsiParameters

    def prepare(self) -> None:
        self._rsi = indicators.rsi(self.parameters.rsi_period)
        self._atr = indicators.atr(self.parameters.atr_period)
        self._before: float | None = None
        self._entered = False
        """Whether there was an entry since the index last crossed the exit level, whatever came before."""

    @property
    def history(self) -> int:
        longest = max(self.parameters.rsi_period, self.parameters.atr_period)
        return 1 + indicators.warm_up_length(longest, wilder=True)

    def decide(self, candle: Candle) -> Decision | None:
        rsi, atr = self._rsi.add(float(candle.close)), self._atr.add(candle)
        before, self._before = self._before, rsi
        if before is None or rsi is None or not atr:
            return None
        low, high = self.parameters.oversold, self.parameters.overbought
        if before < low <= rsi:
            self._entered = True
            return self.entry(1, 2 * (low - before) / low, atr)
        if before > high >= rsi:
            self._entered = True
            return self.entry(-1, 2 * (before - high) / (100 - high), atr)
        level = self.parameters.exit
        if not (before < level <= rsi or before > level >= rsi):
            return None
        entered, self._entered = self._entered, False
        return EXIT if entered else None
