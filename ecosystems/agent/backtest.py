"""Backtests: what a strategy's signals would have earned on past candles.

One position at a time, in the whole equity, unlevered. Positions are filled and closed as the hub's track
record scores calls, by `ecosystems.market.scoring`: each trade is an outcome that the record would have had.
While a position is open, a signal for the other side reverses it and one for the same side is skipped; a
CLOSE ends it, and a signal for its side that refers to it moves its stop and target. Prices and results are
`Decimal`.
"""

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

from ecosystems.market import performance
from ecosystems.market.candles import Candle, duration
from ecosystems.market.scoring import FEE_BPS, HORIZON_HOURS, Amendment, Call, Ending, Outcome, Score
from ecosystems.signal import Signal
from ecosystems.strategies import Strategy

ONE = Decimal(1)
MAX_CURVE_POINTS = 4096
AT_OPEN = ("close", "reversal", "expired", "unfilled", "cancelled", "unpriced")
"""How a position is over at a candle's open."""


class Trade(msgspec.Struct, frozen=True):
    """A position that was closed, or that the end of the candles left open, valued at the last close."""

    signal: Signal
    outcome: Outcome

    @property
    def reason(self) -> str:
        """Why it was closed; `end` where the candles ended."""
        return self.outcome.exit_reason or "end"

    @property
    def gain(self) -> Decimal:
        """The profit after fees as a share of the entry price."""
        assert self.outcome.net_return is not None
        return self.outcome.net_return


class Backtest:
    """A strategy under test, with the track record's fees and time stop unless others are given.

    `trades`, `skipped` (signals that were not followed), `equity` (1 at the start), `drawdown` (the deepest
    fall from a peak, as a share, measured at closes) and `curve` (the equity at closes, thinned evenly to
    MAX_CURVE_POINTS, so that it fits any length of history) grow with each candle.
    """

    def __init__(
        self,
        strategy: Strategy[Any],
        *,
        fee_bps: Decimal | None = None,
        horizon_hours: Decimal | None = None,
    ) -> None:
        """`fee_bps` are hundredths of a percent of the price that each fill costs."""
        self.strategy = strategy
        self.fee_bps = FEE_BPS[strategy.ecosystem] if fee_bps is None else fee_bps
        self.horizon_hours = HORIZON_HOURS[strategy.ecosystem] if horizon_hours is None else horizon_hours
        if not 0 <= self.fee_bps < 10_000:
            raise ValueError(f"a fee is a share of the price from 0 to below 1, not {self.fee_bps} bps")
        if self.horizon_hours <= 0:
            raise ValueError(f"a horizon is a number of hours above 0, not {self.horizon_hours}")
        self.candles = 0
        self.held_candles = 0
        self.trades: list[Trade] = []
        self.skipped = 0
        self.equity = ONE
        self.drawdown = Decimal(0)
        self.curve: list[tuple[datetime, Decimal]] = []
        self._curve_step = 1
        self._length = duration(strategy.timeframe)
        self._peak = ONE
        self._pending: Signal | None = None
        self._position: tuple[Signal, Score] | None = None
        self._first: Candle | None = None
        self._last: Candle | None = None

    def step(self, candle: Candle) -> Signal | None:
        """Add the next candle; return the strategy's signal at its close."""
        self.candles += 1
        signal, self._pending = self._pending, None
        concerns_position = signal is not None and self._apply(signal)
        is_free = self._position is None or self._hold(candle)
        if signal is not None and is_free and _is_call(signal):
            self._position = signal, Score(self._call(signal))
            self._hold(candle)
        elif signal is not None and not concerns_position:
            self.skipped += 1
        value = self._mark(candle)
        if (self.candles - 1) % self._curve_step == 0:
            self.curve.append((candle.timestamp, value))
        if len(self.curve) > MAX_CURVE_POINTS:
            del self.curve[1::2]
            self._curve_step *= 2
        self._first = self._first or candle
        self._last = candle
        self._pending = self.strategy.on_candle(candle)
        return self._pending

    def finish(self) -> None:
        """Value an open position at the last close; a signal that still waits for a candle is skipped."""
        if self._pending is not None:
            self.skipped += 1
            self._pending = None
        if self._last is None:
            return
        if self._position is not None:
            signal, score = self._position
            self._settle(signal, score.outcome(self._last.timestamp + self._length))
        self.curve.append((self._last.timestamp, self._mark(self._last)))

    @property
    def hit_rate(self) -> Decimal | None:
        """The share of trades with a profit after fees; None without trades."""
        hits = sum(trade.gain > 0 for trade in self.trades)
        return Decimal(hits) / len(self.trades) if self.trades else None

    @property
    def average_r(self) -> Decimal | None:
        """The mean R of the trades; None without trades that had a stop."""
        found = self._r_multiples()
        return sum(found, Decimal(0)) / len(found) if found else None

    @property
    def profit_factor(self) -> float | None:
        """The sum of R that was won over the sum that was lost; None where nothing was lost."""
        return performance.profit_factor(self._r_multiples())

    @property
    def sharpe(self) -> float | None:
        """The annualized Sharpe ratio of the daily changes in R; None from too few days or trades."""
        equity = performance.equity_of(trade.outcome for trade in self.trades)
        closed = sum(trade.outcome.state == "closed" for trade in self.trades)
        return performance.sharpe_ratio(equity, closed, self.strategy.ecosystem)

    @property
    def exposure(self) -> Decimal | None:
        """The share of candles at whose close a position was open, or during which one was."""
        return Decimal(self.held_candles) / self.candles if self.candles else None

    @property
    def buy_and_hold(self) -> Decimal | None:
        """What holding from the first open to the last close would have returned, after fees."""
        if self._first is None or self._last is None:
            return None
        bought, sold = self._first.open, self._last.close
        return (sold - bought - self.fee_bps / 10_000 * (bought + sold)) / bought

    def _r_multiples(self) -> list[Decimal]:
        found = (trade.outcome.r_multiple for trade in self.trades)
        return [r for r in found if r is not None]

    def _call(self, signal: Signal) -> Call:
        return Call(
            signal.ecosystem,
            1 if signal.action == "BUY" else -1,
            signal.signal_type,  # type: ignore[arg-type] # a call's, as `step` has checked
            signal.timestamp,
            signal.entry_price,
            signal.stop_loss,
            signal.take_profit,
            self.fee_bps,
            self.horizon_hours,
        )

    def _apply(self, signal: Signal) -> bool:
        """Let a signal end, reverse or amend the position; return whether it concerns it."""
        if self._position is None:
            return False
        held, score = self._position
        if signal.action == "CLOSE" and signal.refers_to in {None, held.signal_id}:
            score.end(Ending(signal.timestamp, "close"))
        elif signal.refers_to == held.signal_id and signal.action == held.action:
            score.amend(Amendment(signal.timestamp, signal.stop_loss, signal.take_profit))
        elif _is_call(signal) and signal.action != held.action:
            score.end(Ending(signal.timestamp, "reversal"))
        else:
            return False
        return True

    def _hold(self, candle: Candle) -> bool:
        """Follow the position through a candle; return whether it was over at the candle's open."""
        assert self._position is not None
        held, score = self._position
        decided = score.run([candle], self._length)
        outcome = score.outcome(candle.timestamp + self._length)
        was_over = decided and (outcome.exit_reason or outcome.state) in AT_OPEN
        self.held_candles += outcome.entered_at is not None and not was_over
        if decided:
            self._settle(held, outcome)
        return was_over

    def _settle(self, signal: Signal, outcome: Outcome) -> None:
        self._position = None
        if outcome.net_return is None:
            self.skipped += 1
            return
        self.trades.append(Trade(signal, outcome))
        self.equity = max(self.equity * (1 + outcome.net_return), Decimal(0))

    def _mark(self, candle: Candle) -> Decimal:
        """Return the equity at the candle's close, as if an open position were closed there."""
        value = self.equity
        if self._position is not None:
            outcome = self._position[1].outcome(candle.timestamp + self._length)
            value = max(value * (1 + (outcome.net_return or 0)), Decimal(0))
        self._peak = max(self._peak, value)
        self.drawdown = max(self.drawdown, 1 - value / self._peak)
        return value


def _is_call(signal: Signal) -> bool:
    is_order = signal.action in {"BUY", "SELL"} and signal.signal_type in {"MARKET", "LIMIT", "STOP"}
    return is_order and signal.refers_to is None
