"""The rules of the track record a second time, written from the rules alone and for nothing but clearness.

It looks at all candles at once, computes no deadline but asks of each moment whether the time has passed, and
shares no line with `ecosystems.market.scoring`.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext

from ecosystems.market.calendars import is_market_open, next_market_change

MICROSECOND = timedelta(microseconds=1)


@dataclass
class Row:
    """The columns of an outcome."""

    state: str = "waiting"
    exit_reason: str | None = None
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
    daily_r: tuple = field(default=())


def open_time(ecosystem, begin, end):
    """Return how long the market was open from `begin` to `end`."""
    total = timedelta()
    while begin < end:
        change = next_market_change(ecosystem, begin) or end
        until = min(change, end)
        if is_market_open(ecosystem, begin):
            total += until - begin
        begin = until
    return total


def has_passed(ecosystem, since, number_of_hours, moment):
    """Return whether so many open hours since `since` are over at `moment`."""
    return open_time(ecosystem, since, moment) >= timedelta(hours=float(number_of_hours))


def level(first, amendments, name, at):
    """Return the stop or the target that holds for a candle that opens `at`."""
    values = [first] + [getattr(each, name) for each in amendments if each.t0 <= at]
    given = [value for value in values if value is not None]
    return given[-1] if given else None


def reached(sign, price, bound):
    """Return whether `price` is at or beyond `bound` in the direction of `sign`."""
    return sign * price >= sign * bound


def fill_price(call, candle):
    """Return where the candle fills the call, or None."""
    if call.kind == "MARKET" or call.claimed is None:
        return candle.open
    s = call.side
    if call.kind == "LIMIT":
        against = candle.low if s > 0 else candle.high
        return call.claimed if s * against < s * call.claimed else None
    along = candle.high if s > 0 else candle.low
    if not reached(s, along, call.claimed):
        return None
    return call.claimed if s * call.claimed > s * candle.open else candle.open


def score(call, amendments, endings, candles, length, now):
    """Return the outcome; `endings` are pairs of a t0 and a reason, in any order."""
    usable = [c for c in candles if c.timestamp >= call.t0 and c.timestamp + length <= now]
    over = lambda moment: has_passed(call.ecosystem, call.t0, 24, moment)  # noqa: E731
    in_time = [c for c in usable if not over(c.timestamp)]
    if not in_time:
        return Row(state="unpriced" if over(now) else "waiting")
    # What was withdrawn in time is cancelled at the first candle from then on: none before filled it.
    ended = sorted(t0 for t0, _ in endings if not over(t0))
    for number, candle in enumerate(usable):
        if ended and ended[0] <= candle.timestamp:
            return Row(state="cancelled")
        if over(candle.timestamp):
            return Row(state="unfilled")
        price = fill_price(call, candle)
        if price is not None:
            return entered(call, amendments, endings, usable[number:], length, price)
    return Row()


def entered(call, amendments, endings, candles, length, price):
    """Return the outcome of a call that its first candle fills."""
    s, first = call.side, candles[0]
    stop = level(call.stop, amendments, "stop", first.timestamp)
    target = level(call.target, amendments, "target", first.timestamp)
    if (stop is not None and reached(-s, price, stop)) or (target is not None and reached(s, price, target)):
        return Row(state="missed")
    number, reason, exit_price, ambiguous = find_exit(call, amendments, endings, candles)
    row = Row(entered_at=first.timestamp, entry_price=price, ambiguous=ambiguous)
    if reason is None:
        row.state, value, held = "open", candles[-1].close, candles
    else:
        row.state, row.exit_reason, value, held = "closed", reason, exit_price, candles[:number]
        row.exited_at, row.exit_price = candles[number].timestamp, exit_price
    return with_figures(row, call, held, value, candles, length)


def find_exit(call, amendments, endings, candles):
    """Return the number of the exit's candle, the reason, the price, and whether it is ambiguous."""
    s, ranks = call.side, {"close": 0, "reversal": 1}
    by_order = call.kind != "MARKET" and call.claimed is not None
    ended = min(((t0, ranks[reason], reason) for t0, reason in endings), default=None)
    horizon = (call.ecosystem, candles[0].timestamp, call.horizon_hours)
    for number, candle in enumerate(candles):
        at = candle.timestamp
        has_expired = has_passed(*horizon, at)
        has_ended = ended is not None and ended[0] <= at
        if has_ended and not (has_expired and has_passed(*horizon, ended[0] - MICROSECOND)):
            return number, ended[2], candle.open, False
        if has_expired:
            return number, "expired", candle.open, False
        stop = level(call.stop, amendments, "stop", at)
        target = level(call.target, amendments, "target", at)
        along, against = (candle.high, candle.low) if s > 0 else (candle.low, candle.high)
        in_entry = number == 0 and by_order
        hits_target = target is not None and s * along > s * target and not in_entry
        if stop is not None and reached(-s, against, stop):
            worse = stop if in_entry or reached(-s, stop, candle.open) else candle.open
            return number, "stop", worse, hits_target
        if hits_target:
            return number, "target", target, False
    return len(candles), None, None, False


def with_figures(row, call, held, value, candles, length):
    """Fill in the figures of a call that is valued at `value` and was held through `held`."""
    s, entry = call.side, row.entry_price
    with localcontext() as context:
        context.prec = 28
        places = Decimal(10) ** -12

        def net(price):
            return s * (price - entry) - call.fee_bps / Decimal(10000) * (entry + price)

        row.gross_return = (s * (value - entry) / entry).quantize(places)
        row.net_return = (net(value) / entry).quantize(places)
        if call.kind == "MARKET" and call.claimed is not None:
            row.slippage = (s * (entry - call.claimed) / call.claimed).quantize(places)
        if call.stop is None:
            return row
        risk = abs(entry - call.stop)
        if call.claimed is not None and abs(call.claimed - call.stop) > risk:
            risk = abs(call.claimed - call.stop)
        if risk == 0:
            return row
        row.r_multiple = (net(value) / risk).quantize(places)
        by_order = call.kind != "MARKET" and call.claimed is not None
        at_exit = s * (row.exit_price - entry) if row.exit_price else Decimal(0)
        good, bad = [Decimal(0), at_exit], [Decimal(0), -at_exit]
        for number, candle in enumerate(held):
            both = [s * (candle.high - entry), s * (candle.low - entry)]
            bad.append(-min(both))
            if not (number == 0 and by_order):
                good.append(max(both))
        row.mfe_r = (max(good) / risk).quantize(places)
        row.mae_r = (max(bad) / risk).quantize(places)
        row.daily_r = tuple(
            (net(price) / risk).quantize(places) for price in closes_of_days(row, held, candles, length)
        )
    return row


def closes_of_days(row, held, candles, length):
    """Yield the last price at the end of each day before the exit's, or before that of the newest price."""
    midnight = row.entered_at.astimezone(UTC).replace(hour=0, minute=0) + timedelta(days=1)
    last = row.exited_at or candles[-1].timestamp + length - MICROSECOND
    while midnight <= last:
        closed = [candle.close for candle in held if candle.timestamp + length <= midnight]
        yield closed[-1] if closed else row.entry_price
        midnight += timedelta(days=1)
