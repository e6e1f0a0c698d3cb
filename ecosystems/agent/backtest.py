"""Backtests: what a strategy's signals would have earned on past candles.

One position at a time, in the whole equity, unlevered. A signal is filled at the next candle's open. While a
position is open, a signal for the other side reverses it and one for the same side is skipped. When one
candle touches both stop and target the stop counts, since a candle does not say which came first; one that
opens beyond either is filled at its open. Prices and results are `Decimal`.
"""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec

from ecosystems.market.candles import Candle
from ecosystems.signal import Signal
from ecosystems.strategies import Strategy

ExitReason = Literal["stop", "target", "reversal", "end"]
ONE = Decimal(1)
CURVE_POINTS = 4096


class Trade(msgspec.Struct, frozen=True):
    """A closed position of one unit. `profit` is in price, after fees, `gain` its share of the entry."""

    signal: Signal
    opened_at: datetime
    entry: Decimal
    closed_at: datetime
    exit: Decimal
    reason: ExitReason
    profit: Decimal

    @property
    def gain(self) -> Decimal:
        """The profit as a share of the entry price."""
        return self.profit / self.entry

    @property
    def r(self) -> Decimal:
        """The profit in units of the risk taken, the distance from the fill to the stop (Van Tharp's R)."""
        assert self.signal.stop_loss is not None
        return self.profit / abs(self.entry - self.signal.stop_loss)


class EquityCurve:
    """Equity over time, thinned to at most CURVE_POINTS, so that it fits any length of history."""

    def __init__(self) -> None:
        self.points: list[tuple[datetime, Decimal]] = []
        self._every = 1
        self._count = 0

    def add(self, at: datetime, equity: Decimal, *, last: bool = False) -> None:
        """Add the next point, not earlier than those before it; the last one is always kept."""
        if last or self._count % self._every == 0:
            self.points.append((at, equity))
        self._count += 1
        if len(self.points) > CURVE_POINTS:
            del self.points[1::2]
            self._every *= 2


class Backtest:
    """A strategy under test; `fee` is the share of the price that each fill costs (0.001 is 0.1 %).

    `trades`, `skipped` (signals without a fill), `equity` (1 at the start), `drawdown` (the deepest fall
    from a peak, as a share, measured at closes) and `curve` grow with each candle.
    """

    def __init__(self, strategy: Strategy[Any], fee: Decimal = Decimal(0)) -> None:
        if not 0 <= fee < ONE:
            raise ValueError(f"a fee is a share of the price from 0 to below 1, not {fee}")
        self.strategy = strategy
        self.fee = fee
        self.candles = 0
        self.trades: list[Trade] = []
        self.skipped = 0
        self.equity = ONE
        self.drawdown = Decimal(0)
        self.curve = EquityCurve()
        self._peak = ONE
        self._pending: Signal | None = None
        self._position: _Position | None = None
        self._last: Candle | None = None

    def run(self, candles: Iterable[Candle]) -> None:
        """Add all candles and close what is open at the end."""
        for candle in candles:
            self.step(candle)
        self.finish()

    def step(self, candle: Candle) -> Signal | None:
        """Add the next candle; return the strategy's signal at its close."""
        self.candles += 1
        if self._pending is not None:
            self._fill(self._pending, candle)
        if self._position is not None and (exit_ := self._position.exit(candle)):
            self._close(candle.timestamp, *exit_)
        self._mark(candle)
        self._last = candle
        self._pending = self.strategy.on_candle(candle)
        return self._pending

    def finish(self) -> None:
        """Close an open position at the last close; a signal that still waits for an open is skipped."""
        if self._pending is not None:
            self.skipped += 1
            self._pending = None
        if self._last is None:
            return
        if self._position is not None:
            self._close(self._last.timestamp, self._last.close, "end")
        self._mark(self._last, last=True)

    @property
    def hit_rate(self) -> Decimal | None:
        """The share of trades with a profit after fees; None without trades."""
        hits = sum(trade.profit > 0 for trade in self.trades)
        return Decimal(hits) / len(self.trades) if self.trades else None

    @property
    def average_r(self) -> Decimal | None:
        """The mean R of the trades; None without trades."""
        total = sum((trade.r for trade in self.trades), Decimal(0))
        return total / len(self.trades) if self.trades else None

    def _fill(self, signal: Signal, candle: Candle) -> None:
        """Open a position at the candle's open, unless there is one or the price is beyond stop or target."""
        self._pending = None
        held = self._position
        if signal.action == "HOLD" or (held is not None and held.signal.action == signal.action):
            self.skipped += 1
            return
        if held is not None:
            self._close(candle.timestamp, candle.open, "reversal")
        stop, target = signal.stop_loss, signal.take_profit
        low, high = (stop, target) if signal.action == "BUY" else (target, stop)
        if stop is None or target is None or low is None or high is None or not low < candle.open < high:
            self.skipped += 1
            return
        self._position = _Position(signal, candle.timestamp, candle.open, stop, target)

    def _close(self, at: datetime, price: Decimal, reason: ExitReason) -> None:
        position = self._position
        assert position is not None
        profit = position.profit(price) - self.fee * (position.entry + price)
        trade = Trade(position.signal, position.opened_at, position.entry, at, price, reason, profit)
        self.trades.append(trade)
        self.equity = max(self.equity * (1 + trade.gain), Decimal(0))
        self._position = None

    def _mark(self, candle: Candle, *, last: bool = False) -> None:
        """Value the equity at the candle's close; a position's entry fee is paid, its exit fee is not."""
        value = self.equity
        if (held := self._position) is not None:
            open_profit = held.profit(candle.close) - self.fee * held.entry
            value = max(value * (1 + open_profit / held.entry), Decimal(0))
        self._peak = max(self._peak, value)
        self.drawdown = max(self.drawdown, 1 - value / self._peak)
        self.curve.add(candle.timestamp, value, last=last)


class _Position(msgspec.Struct, frozen=True):
    signal: Signal
    opened_at: datetime
    entry: Decimal
    stop: Decimal
    target: Decimal

    def profit(self, price: Decimal) -> Decimal:
        """Return the profit of one unit at `price`, before fees."""
        return price - self.entry if self.signal.action == "BUY" else self.entry - price

    def exit(self, candle: Candle) -> tuple[Decimal, ExitReason] | None:
        """Return price and reason if the candle touches stop or target."""
        if self.signal.action == "BUY":
            if candle.low <= self.stop:
                return min(candle.open, self.stop), "stop"
            return (max(candle.open, self.target), "target") if candle.high >= self.target else None
        if candle.high >= self.stop:
            return max(candle.open, self.stop), "stop"
        return (min(candle.open, self.target), "target") if candle.low <= self.target else None
