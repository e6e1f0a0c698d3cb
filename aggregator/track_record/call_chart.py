"""The candles around a call, with its entry, stop, target and exit: what a page draws.

A month of minutes is drawn as a few hundred candles, which the database puts together.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
from django.db import connection
from django.db.models import Max, Min

from aggregator.models import Outcome, StoredCandle, TradingSignal
from aggregator.track_record import sql
from aggregator.track_record.feed_choice import series_of

MAX_BARS = 240
"""Candles that are drawn for the life of a call."""
MARGIN_BARS = 30
"""So many are drawn before it and after it."""
MAX_CANDLES = 100_000
"""Candles that are read. More than two months of minutes are cut off, and the page says so."""
LENGTHS = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800, 604_800)
MAX_PLACES = 8

BARS = """
    SELECT min(opened_at), (array_agg(open ORDER BY opened_at))[1], max(high), min(low),
        (array_agg(close ORDER BY opened_at DESC))[1], count(*)
    FROM (SELECT * FROM candles
        WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s AND feed = %(feed)s
            AND seconds = %(seconds)s AND opened_at >= %(since)s AND opened_at <= %(until)s
        ORDER BY opened_at LIMIT %(limit)s) AS part
    GROUP BY {bucket} ORDER BY 1"""

BUCKET = "floor(extract(epoch FROM opened_at - %(since)s) / %(length)s)"


Bar = tuple[datetime, Decimal, Decimal, Decimal, Decimal]
Line = list[tuple[int, float]]


class Span(NamedTuple):
    """How long a bar is, and the candles that it is made of."""

    length: timedelta
    candle: timedelta


class Level(msgspec.Struct, frozen=True):
    """A price of the call, from a moment on until the next of its kind."""

    since: datetime
    price: Decimal


class CallChart(msgspec.Struct, frozen=True):
    """What a page shows of a call's prices."""

    drawing: dict[str, Any]
    """What its script draws; times are seconds since 1970, prices floats."""
    length: timedelta
    """That of a bar."""
    feed: str
    is_cut: bool


def stops_and_targets(call: Outcome, signal: TradingSignal) -> tuple[list[Level], list[Level]]:
    """Return the stops and the targets that a call had, the amended ones included."""
    first = (call.t0, signal.stop_loss, signal.take_profit)
    with connection.cursor() as cursor:
        cursor.execute(sql.AMENDMENTS, {"positions": [call.position], "signal_ids": [signal.signal_id]})
        changes = [first, *(row[1:] for row in cursor.fetchall())]
    ended = call.exited_at or datetime.max.replace(tzinfo=call.t0.tzinfo)
    changes = [change for change in changes if change[0] <= ended]
    stops = [Level(since, stop) for since, stop, _ in changes if stop is not None]
    return stops, [Level(since, target) for since, _, target in changes if target is not None]


def call_chart(call: Outcome, signal: TradingSignal) -> CallChart | None:
    """Return the drawing of a call; None where there are no candles of it."""
    series = call.series or next(iter(series_of(call)), None)
    if series is None:
        return None
    place = {name: getattr(series, name) for name in ("ecosystem", "instrument", "feed", "seconds")}
    start, end = call.t0, call.exited_at or call.scored_to or call.t0
    span, bars, is_cut = _bars(place, start, end)
    if not bars:
        return None
    stops, targets = stops_and_targets(call, signal)
    claimed = [Level(start, signal.entry_price)] if signal.entry_price is not None else []
    entry = [Level(call.entered_at, call.entry_price)] if call.entered_at and call.entry_price else []
    times = [bar[0] for bar in bars]
    lines = {
        claimed_as(signal): _line(times, claimed, call.entered_at or end, span),
        "entry": _line(times, entry, end, span),
        "stop": _line(times, stops, end, span),
        "target": _line(times, targets, end, span),
    }
    prices = [bar[4] for bar in bars] + [level.price for level in (*claimed, *entry, *stops, *targets)]
    drawing = {
        "bars": [(_epoch(at), float(o), float(h), float(low), float(c)) for at, o, h, low, c in bars],
        # By name, the points of a line: one for each bar on which it stands.
        "lines": {name: points for name, points in lines.items() if points},
        "markers": _markers(call, times),
        "side": call.side,
        "places": min(MAX_PLACES, max(_places(price) for price in prices)),
    }
    return CallChart(drawing, span.length, series.feed, is_cut)


def claimed_as(signal: TradingSignal) -> str:
    """Return what the price is that a signal names for its entry."""
    return {"LIMIT": "limit", "STOP": "trigger"}.get(signal.signal_type, "claimed")


def _bars(place: dict[str, Any], start: datetime, end: datetime) -> tuple[Span, list[Bar], bool]:
    """Return the bars, how long they are, and whether some were cut off at the end."""
    seconds: int = place["seconds"]
    candles = StoredCandle.objects.filter(**place)
    count = candles.filter(opened_at__gte=start, opened_at__lte=end)[:MAX_CANDLES].count()
    length = next((each for each in LENGTHS if each * MAX_BARS >= count * seconds), LENGTHS[-1])
    length = max(length, seconds)
    margin = MARGIN_BARS * max(1, length // seconds)
    before = candles.filter(opened_at__lt=start).order_by("-opened_at")[:margin]
    after = candles.filter(opened_at__gt=end).order_by("opened_at")[:margin]
    given = {
        "since": before.aggregate(at=Min("opened_at"))["at"] or start,
        "until": after.aggregate(at=Max("opened_at"))["at"] or end,
        "length": length,
        "limit": MAX_CANDLES,
    }
    with connection.cursor() as cursor:
        bucket = BUCKET if length > seconds else "opened_at"
        cursor.execute(BARS.format(bucket=bucket), {**place, **given})
        rows = cursor.fetchall()
    span = Span(timedelta(seconds=length), timedelta(seconds=seconds))
    return span, [row[:5] for row in rows], sum(row[5] for row in rows) == MAX_CANDLES


def _line(times: Sequence[datetime], levels: list[Level], until: datetime, span: Span) -> Line:
    """Return a point for each bar from the one that has the first candle from the first level on."""
    points = []
    for at in times:
        known = [level for level in levels if level.since <= at + span.length - span.candle]
        if known and at <= until:
            points.append((_epoch(at), float(known[-1].price)))
    if levels and not points:  # no candle has come since
        points.append((_epoch(times[-1]), float(levels[-1].price)))
    if len(points) == 1:  # one point is no line
        points.append((points[0][0] + int(span.length.total_seconds()), points[0][1]))
    return points


def _markers(call: Outcome, times: Sequence[datetime]) -> list[tuple[int, str, str]]:
    """Return time, kind (`entry` or `exit`) and text of each marker."""
    found = []
    for kind, moment in (("entry", call.entered_at), ("exit", call.exited_at)):
        before = [at for at in times if moment and at <= moment]
        if before:
            found.append((_epoch(before[-1]), kind, kind if kind == "entry" else call.exit_reason or kind))
    return found


def _epoch(moment: datetime) -> int:
    return int(moment.timestamp())


def _places(price: Decimal) -> int:
    exponent = price.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
