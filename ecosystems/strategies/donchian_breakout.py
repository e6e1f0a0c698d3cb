"""Breakout: the close leaves the channel of the candles before it."""

from ecosystems.market.candles import Candle
from ecosystems.strategies import indicators
from ecosystems.strategies.strategy import EXIT, Decision, Parameters, Period, Strategy


class DonchianParameters(Parameters, frozen=True, kw_only=True):
    """Periods of the channels; 20 is that of Donchian's rule, 20 and 10 are the Turtles' first system."""

    channel: Period = 20
    exit_channel: Period = 10


class DonchianBreakout(Strategy[DonchianParameters]):
    """BUY when the close rises above the highest high of the `channel` candles before it, SELL when it falls
    below their lowest low. CLOSE when it leaves the shorter exit channel on the other side.

    Only the first close outside counts, not later ones on the same side. Confidence is 0.5
    for a close on the channel's edge and rises with the distance, to 1 at one average true range. It ranks
    signals of this strategy; it is not a probability.
    """

    name = "donchian_breakout"
    schema = DonchianParameters

    def prepare(self) -> None:
        self._channel = indicators.channel(self.parameters.channel)
        self._atr = indicators.atr(self.parameters.atr_period)
        self._bounds: tuple[float, float] | None = None
        self._side = 0
        self._exit_channel = indicators.channel(self.parameters.exit_channel)
        self._exit_bounds: tuple[float, float] | None = None
        self._held = 0
        """The side of the last breakout, 0 after its exit."""

    @property
    def history(self) -> int:
        longest = max(self.parameters.channel, self.parameters.exit_channel)
        return max(longest + 1, indicators.warm_up_length(self.parameters.atr_period, wilder=True))

    def decide(self, candle: Candle) -> Decision | None:
        close, atr = float(candle.close), self._atr.add(candle)
        bounds, self._bounds = self._bounds, self._channel.add(candle)
        exit_bounds, self._exit_bounds = self._exit_bounds, self._exit_channel.add(candle)
        if bounds is None:
            return None
        lowest, highest = bounds
        beyond = max(close - highest, lowest - close)
        before, self._side = self._side, (close > highest) - (close < lowest)
        if not self._side or self._side == before or not atr:
            return self._exit(close, exit_bounds)
        self._held = self._side
        return self.entry(self._side, beyond / atr, atr)

    def _exit(self, close: float, bounds: tuple[float, float] | None) -> Decision | None:
        if bounds is None or not self._held:
            return None
        lowest, highest = bounds
        if not (close < lowest if self._held > 0 else close > highest):
            return None
        self._held = 0
        return EXIT
