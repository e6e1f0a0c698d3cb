"""Open hours: time in which an ecosystem's market is open."""

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from ecosystems.market.calendars import is_market_open, next_market_change


class _Year(NamedTuple):
    """The sessions of one market in one year (UTC)."""

    openings: list[datetime]
    closings: list[datetime]
    passed: list[timedelta]
    """Open time of the year until each session's end."""


def later(ecosystem: str, start: datetime, length: timedelta) -> datetime:
    """Return the earliest time at which the market was open for `length` (above 0) since `start` (aware)."""
    if next_market_change(ecosystem, start) is None:
        return start + length
    start = start.astimezone(UTC)
    year = _sessions(ecosystem, start.year)
    number = bisect_right(year.openings, start) - 1
    if number >= 0:
        length += year.passed[number] - max(year.closings[number] - start, timedelta(0))
    while year.passed[-1] < length:
        length -= year.passed[-1]
        start = datetime(start.year + 1, 1, 1, tzinfo=UTC)
        year = _sessions(ecosystem, start.year)
    number = bisect_left(year.passed, length)
    return year.closings[number] - (year.passed[number] - length)


@lru_cache(maxsize=64)
def _sessions(ecosystem: str, year: int) -> _Year:
    """Return the sessions of a year, cut at its ends. A year of stock sessions takes 80 ms to load."""
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    changes = [start] if is_market_open(ecosystem, start) else []
    change = next_market_change(ecosystem, start)
    while change is not None and change < end:
        changes.append(change)
        change = next_market_change(ecosystem, change)
    if len(changes) % 2:
        changes.append(end)
    openings, closings = changes[::2], changes[1::2]
    lengths = (closing - opening for opening, closing in zip(openings, closings, strict=True))
    return _Year(openings, closings, list(accumulate(lengths)))
