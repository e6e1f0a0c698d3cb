"""Mean reversion: the index comes back from an extreme."""

from typing import Annotated, Literal

import msgspec

from ecosystems.market.candles import Candle
from ecosystems.strategies.indicators import Atr, Rsi, warm_up_length
from ecosystems.strategies.strategy import Decision, Parameters, Period, Strategy

Level = Annotated[float, msgspec.Meta(gt=0, lt=100)]


class RsiParameters(Parameters, frozen=True, kw_only=True):
    """Period and levels of the relative strength index; 14, 30 and 70 are Wilder's."""

    rsi_period: Period = 14
    oversold: Level = 30.0
    overbought: Level = 70.0

    def __post_init__(self) -> None:
        if self.oversold >= self.overbought:
            raise ValueError(f"oversold must be below overbought, not {self.oversold} and {self.overbought}")


class RsiReversion(Strategy[RsiParameters]):
    """BUY when the index comes back up to the oversold level, SELL when it comes back down to the overbought.

    It waits for the return, because an index may stay at an extreme for long. Confidence is 0.5 for a
    return from just beyond the level and rises with the depth of the candle before, to 1 for one from
    halfway to the end of the scale (15 or 85). It ranks signals of this strategy; it is not a probability.
    """

    name = "rsi_reversion"
    schema = RsiParameters

    def prepare(self) -> None:
        """Create the index and the range."""
        self._rsi = Rsi(self.parameters.rsi_period)
        self._atr = Atr(self.parameters.atr_period)
        self._before: float | None = None

    @property
    def history(self) -> int:
        """The length of the warm-up that the averages need."""
        longest = max(self.parameters.rsi_period, self.parameters.atr_period)
        return 1 + warm_up_length(longest, wilder=True)

    def decide(self, candle: Candle) -> Decision | None:
        """Add the next candle; decide to trade if the index came back on it."""
        rsi, atr = self._rsi.add(float(candle.close)), self._atr.add(candle)
        before, self._before = self._before, rsi
        if before is None or rsi is None or not atr:
            return None
        low, high = self.parameters.oversold, self.parameters.overbought
        if before < low <= rsi:
            return self._decision("BUY", (low - before) / low, atr)
        if before > high >= rsi:
            return self._decision("SELL", (before - high) / (100 - high), atr)
        return None

    def _decision(self, action: Literal["BUY", "SELL"], depth: float, atr: float) -> Decision:
        return Decision(
            action=action,
            confidence=0.5 + 0.5 * min(2 * depth, 1),
            risk=self.parameters.stop_atr * atr,
            reward=self.parameters.target_atr * atr,
        )
