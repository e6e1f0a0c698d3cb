"""What becomes of a call: the rules of the track record, version 1.

A `Score` follows one call through its candles and remembers no more than a handful of prices. Backtests and
the hub's track record fill and close by this module alone. `docs/track-record.md` explains the rules; where
they leave two readings, the one that makes the record look worse is taken.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from itertools import islice
from typing import Literal

import msgspec

from ecosystems.market.candles import Candle
from ecosystems.market.open_hours import later

RULE_VERSION = 1
FILL_HOURS = Decimal(24)
"""Open hours from t0 within which a call is filled."""
HORIZON_HOURS = {"crypto": Decimal(720), "forex": Decimal(504), "stock": Decimal("136.5")}
"""Open hours from the entry after which a call has expired, each about a month."""
FEE_BPS = {"crypto": Decimal(10), "forex": Decimal(1), "stock": Decimal(2)}
"""Fees of each side in hundredths of a percent."""
DECIMALS = Decimal("1e-12")

State = Literal["waiting", "open", "closed", "unfilled", "missed", "cancelled", "unpriced"]
UNDECIDED: tuple[State, ...] = ("waiting", "open")
CallKind = Literal["MARKET", "LIMIT", "STOP"]
ExitReason = Literal["stop", "target", "close", "reversal", "expired"]

NEVER = datetime.max.replace(tzinfo=UTC)
INFINITY = Decimal("Infinity")
DAY = timedelta(days=1)
_FIGURES = Context(prec=28, rounding=ROUND_HALF_EVEN)
_STORED = Context(prec=80, rounding=ROUND_HALF_EVEN)


class Call(msgspec.Struct, frozen=True, gc=False):
    """A call as it was recorded; `side` is +1 for BUY and -1 for SELL."""

    ecosystem: str
    side: int
    kind: CallKind
    t0: datetime
    claimed: Decimal | None
    """`entry_price`: what a MARKET call claims, the limit or the trigger of another."""
    stop: Decimal | None
    target: Decimal | None
    fee_bps: Decimal
    horizon_hours: Decimal


class Amendment(msgspec.Struct, frozen=True, gc=False):
    """A new stop or target of a call; None leaves the earlier one."""

    t0: datetime
    stop: Decimal | None
    target: Decimal | None


class Ending(msgspec.Struct, frozen=True, gc=False):
    """The CLOSE or the call of the other side that ends a call, by its t0."""

    t0: datetime
    reason: Literal["close", "reversal"]


class Outcome(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What became of a call so far; figures of an open one are valued at `last_close`."""

    state: State = "waiting"
    exit_reason: ExitReason | None = None
    entered_at: datetime | None = None
    entry_price: Decimal | None = None
    exited_at: datetime | None = None
    exit_price: Decimal | None = None
    gross_return: Decimal | None = None
    net_return: Decimal | None = None
    r_multiple: Decimal | None = None
    mfe_r: Decimal | None = None
    mae_r: Decimal | None = None
    slippage: Decimal | None = None
    ambiguous: bool = False
    scored_to: datetime | None = None
    """The end of the last candle that was looked at."""
    last_close: Decimal | None = None
    daily_r: tuple[Decimal, ...] = ()
    """R at the end of each UTC day from the entry's to the one before the exit's."""


class Score:
    """One call, followed through the candles of one market, oldest first."""

    def __init__(
        self,
        call: Call,
        amendments: Sequence[Amendment] = (),
        ending: Ending | None = None,
        *,
        known: Outcome | None = None,
        seen: bool = False,
    ) -> None:
        """`amendments` are in the order in which they act; `ending` is the earliest one.

        `known` is what an earlier `Score` gave, to go on from its `scored_to`; with `seen`, that one had
        been given a candle within the time for a fill.
        """
        self.call = call
        self.fill_by = later(call.ecosystem, call.t0, hours(FILL_HOURS))
        self.seen = seen
        """Whether a candle within the time for a fill was given."""
        self.scored_to: datetime | None = None
        self.state: State = "waiting"
        self._buys = call.side > 0
        self._fills_at_open = call.kind == "MARKET" or call.claimed is None
        self._stop = -call.side * INFINITY if call.stop is None else call.stop
        self._target = call.side * INFINITY if call.target is None else call.target
        self._amendments = list(amendments)
        self._ending = Ending(NEVER, "close")
        self._exit: tuple[datetime, ExitReason] = (NEVER, "expired")
        self._reason: ExitReason | None = None
        self._entered_at: datetime | None = None
        self._exited_at: datetime | None = None
        self._risk: Decimal | None = None
        self._ambiguous = False
        self._daily_r: list[Decimal] = []
        self._known = known
        self.end(ending)
        if known is not None:
            self._resume(known)

    def end(self, ending: Ending | None) -> None:
        """Take an ending into account, unless an earlier one is known."""
        known = self._ending
        if ending is not None and (ending.t0, ending.reason) < (known.t0, known.reason):
            self._ending = ending
            if self.state == "open" and ending.t0 <= self._exit[0]:
                self._exit = (ending.t0, ending.reason)

    def amend(self, amendment: Amendment) -> None:
        """Add an amendment, which acts after those that are known."""
        self._amendments.append(amendment)

    def run(self, candles: Sequence[Candle], length: timedelta, start: int = 0) -> bool:
        """Follow the call through `candles[start:]`, each `length` long; return whether it is decided.

        Only closed candles may be given, none before t0 nor from before those of an earlier call.
        """
        if start >= len(candles):
            return self.state not in UNDECIDED
        if self.state == "waiting":
            start = self._wait(candles, length, start)
        if self.state == "open":
            self._hold(candles, length, start)
        if self.state in UNDECIDED:
            self.scored_to = candles[-1].timestamp + length
        return self.state not in UNDECIDED

    def outcome(self, now: datetime) -> Outcome:
        """Return what became of the call, as of `now`."""
        if self.state == "waiting" and not self.seen and now >= self.fill_by:
            self.state, self.scored_to = "unpriced", self.fill_by
        if self._entered_at is None:
            return Outcome(state=self.state, scored_to=self.scored_to)
        return self._entered_outcome()

    def _resume(self, known: Outcome) -> None:
        """Go on from an outcome; figures that were rounded stay as they are, since rounding is monotone."""
        self.scored_to = known.scored_to
        if known.entered_at is None or known.entry_price is None or known.last_close is None:
            return
        self._open(known.entered_at, known.entry_price)
        self._last_close, self._daily_r = known.last_close, list(known.daily_r)
        self._next_mark += len(known.daily_r) * DAY

    def _wait(self, candles: Sequence[Candle], length: timedelta, start: int) -> int:
        """Look for the fill; return the number of the candle from which on the position is held."""
        for number, candle in enumerate(islice(candles, start, None), start):
            at = candle.timestamp
            if not self.seen and at >= self.fill_by:
                self.state, self.scored_to = "unpriced", self.fill_by
                return number
            if at >= self.fill_by or at >= self._ending.t0:
                # What was withdrawn in time was so before it was too late.
                self.state = "cancelled" if self._ending.t0 < self.fill_by else "unfilled"
                self.scored_to = at + length
                return number
            self.seen = True
            self._amend(at)
            price = self._fill(candle)
            if price is None:
                continue
            if self._misses(price):
                self.state, self.scored_to = "missed", at + length
                return number
            self._open(at, price)
            if self._fills_at_open:
                return number
            self._hold_first(candle, length)
            return number + 1
        return len(candles)

    def _misses(self, price: Decimal) -> bool:
        """Return whether the price is already at or beyond the stop or the target."""
        if self._buys:
            return price <= self._stop or price >= self._target
        return price >= self._stop or price <= self._target

    def _fill(self, candle: Candle) -> Decimal | None:
        """Return the price at which the candle fills the call, None if it does not."""
        wanted = self.call.claimed
        if self._fills_at_open or wanted is None:
            return candle.open
        if self.call.kind == "LIMIT":
            return wanted if (candle.low < wanted if self._buys else candle.high > wanted) else None
        if self._buys:
            return max(wanted, candle.open) if candle.high >= wanted else None
        return min(wanted, candle.open) if candle.low <= wanted else None

    def _open(self, at: datetime, price: Decimal) -> None:
        call = self.call
        self.state = "open"
        self._entered_at, self._entry = at, price
        self._high = self._low = self._last_close = price
        self._next_mark = _day(at) + DAY
        if call.stop is not None:
            with localcontext(_FIGURES):
                distances = [abs(base - call.stop) for base in (price, call.claimed) if base is not None]
            self._risk = max(distances) or None
        expires = later(call.ecosystem, at, hours(call.horizon_hours))
        ending = self._ending
        self._exit = (ending.t0, ending.reason) if ending.t0 <= expires else (expires, "expired")

    def _hold_first(self, candle: Candle, length: timedelta) -> None:
        """Hold through the candle that filled a limit or a stop order: its target does not count."""
        if candle.low <= self._stop if self._buys else candle.high >= self._stop:
            self._close(candle, length, self._stop, "stop")
            return
        self._mark(candle.timestamp + length)
        if self._buys:
            self._low = min(candle.low, self._entry)
        else:
            self._high = max(candle.high, self._entry)
        self._last_close = candle.close

    def _hold(self, candles: Sequence[Candle], length: timedelta, start: int) -> None:
        """Hold from candle `start` on. The loop of a million calls: its state is in local variables."""
        buys, stop, target = self._buys, self._stop, self._target
        exit_at, exit_reason = self._exit
        amended_at = self._amendments[0].t0 if self._amendments else NEVER
        marked_at = self._next_mark - length
        high, low, last_close = self._high, self._low, self._last_close
        for candle in islice(candles, start, None):
            at = candle.timestamp
            if at > marked_at:
                self._high, self._low, self._last_close = high, low, last_close
                self._mark(at + length)
                marked_at = self._next_mark - length
            if at >= amended_at:
                self._amend(at)
                stop, target = self._stop, self._target
                amended_at = self._amendments[0].t0 if self._amendments else NEVER
            if at >= exit_at:
                price, reason = candle.open, exit_reason
            elif candle.low <= stop if buys else candle.high >= stop:
                price = min(stop, candle.open) if buys else max(stop, candle.open)
                reason = "stop"
                self._ambiguous = candle.high > target if buys else candle.low < target
            elif candle.high > target if buys else candle.low < target:
                price, reason = target, "target"
            else:
                if candle.high > high:
                    high = candle.high
                if candle.low < low:
                    low = candle.low
                last_close = candle.close
                continue
            self._high, self._low = high, low
            self._close(candle, length, price, reason)
            return
        self._high, self._low, self._last_close = high, low, last_close

    def _amend(self, at: datetime) -> None:
        """Apply the amendments that hold for a candle that opens `at`."""
        while self._amendments and self._amendments[0].t0 <= at:
            amendment = self._amendments.pop(0)
            self._stop = self._stop if amendment.stop is None else amendment.stop
            self._target = self._target if amendment.target is None else amendment.target

    def _mark(self, until: datetime) -> None:
        """Value the call at the end of each day that is over before `until`, the end of the next candle."""
        while self._next_mark < until:
            if (value := self._r(self._last_close)) is not None:
                self._daily_r.append(value)
            self._next_mark += DAY

    def _close(self, candle: Candle, length: timedelta, price: Decimal, reason: ExitReason) -> None:
        assert self._entered_at is not None
        self._exited_at, self._last_close, self._reason = candle.timestamp, price, reason
        self._high, self._low = max(self._high, price), min(self._low, price)
        # A candle that spans midnight was marked for the day on which it exits.
        del self._daily_r[(_day(candle.timestamp) - _day(self._entered_at)).days :]
        self.state, self.scored_to = "closed", candle.timestamp + length

    def _entered_outcome(self) -> Outcome:
        side, entry, value = self.call.side, self._entry, self._last_close
        with localcontext(_FIGURES):
            gross = side * (value - entry)
            slippage = None
            if self.call.kind == "MARKET" and self.call.claimed is not None:
                slippage = stored(side * (entry - self.call.claimed) / self.call.claimed)
            mfe, mae = self._excursions()
            closed = self.state == "closed"
            return Outcome(
                state=self.state,
                exit_reason=self._reason,
                entered_at=self._entered_at,
                entry_price=entry,
                exited_at=self._exited_at,
                exit_price=value if closed else None,
                gross_return=stored(gross / entry),
                net_return=stored((gross - self._fees(value)) / entry),
                r_multiple=self._r(value),
                mfe_r=mfe,
                mae_r=mae,
                slippage=slippage,
                ambiguous=self._ambiguous,
                scored_to=self.scored_to,
                last_close=value,
                daily_r=tuple(self._daily_r),
            )

    def _fees(self, value: Decimal) -> Decimal:
        return self.call.fee_bps / 10_000 * (self._entry + value)

    def _r(self, value: Decimal) -> Decimal | None:
        """Return the R of the call at a price, after fees; None without a risk."""
        if self._risk is None:
            return None
        with localcontext(_FIGURES):
            return stored((self.call.side * (value - self._entry) - self._fees(value)) / self._risk)

    def _excursions(self) -> tuple[Decimal | None, Decimal | None]:
        """Return the greatest favourable and adverse excursion, in R."""
        if self._risk is None:
            return None, None
        best, worst = (self._high, self._low) if self._buys else (self._low, self._high)
        known = self._known
        mfe, mae = (
            max(stored(sign * (price - self._entry) / self._risk), before or Decimal(0))
            for sign, price, before in (
                (self.call.side, best, known and known.mfe_r),
                (-self.call.side, worst, known and known.mae_r),
            )
        )
        return mfe, mae


def hours(number: Decimal) -> timedelta:
    """Return a number of hours as a length of time."""
    return timedelta(hours=float(number))


def stored(figure: Decimal) -> Decimal:
    """Return a figure as it is stored, to 12 decimal places."""
    return figure.quantize(DECIMALS, context=_STORED)


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
