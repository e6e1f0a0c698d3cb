"""Breakout: the close leaves the channel of the candles before it."""

from ecosystems.market.candles import Candle
from ecosystems.strategies.indicators import Atr, Channel, warm_up_length
from ecosystems.strategies.strategy import Decision, Parameters, Period, Strategy


class DonchianParameters(Parameters, frozen=True, kw_only=True):
    """Period of the channel; 20 is that of Donchian's rule and of the Turtles' first system."""

    channel: Period = 20


class DonchianBreakout(Strategy[DonchianParameters]):
    """BUY when the close rises above the highest high of the `channel` candles before it, SELL when it falls
    below their lowest low.

    Only the first close outside counts, not later ones on the same side. Confidence is 0.5
    for a close on the channel's edge and rises with the distance, to 1 at one average true range. It ranks
    signals of this strategy; it is not a probability.
    """

    name = "donchian_breakout"
    schema = DonchianParameters

    def prepare(self) -> None:
        """Create the channel and the range."""
        self._channel = Channel(self.parameters.channel)
        self._atr = Atr(self.parameters.atr_period)
        self._bounds: tuple[float, float] | None = None
        self._side = 0

    @property
    def history(self) -> int:
        """The length of the warm-up that channel and range need."""
        return max(self.parameters.channel + 1, warm_up_length(self.parameters.atr_period, wilder=True))

    def decide(self, candle: Candle) -> Decision | None:
        """Add the next candle; decide to trade if its close left the channel."""
        close, atr = float(candle.close), self._atr.add(candle)
        bounds, self._bounds = self._bounds, self._channel.add(candle)
        if bounds is None:
            return None
        lowest, highest = bounds
        beyond = max(close - highest, lowest - close)
        before, self._side = self._side, (close > highest) - (close < lowest)
        if not self._side or self._side == before or not atr:
            return None
        return Decision(
            action="BUY" if self._side > 0 else "SELL",
            confidence=0.5 + 0.5 * min(beyond / atr, 1),
            risk=self.parameters.stop_atr * atr,
            reward=self.parameters.target_atr * atr,
        )
