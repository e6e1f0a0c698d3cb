"""The trading hours of US stocks: the regular session of the NYSE, holidays and half days included.

Extended hours do not count: candles, stops and fills of the strategies here are those of the regular session.
"""

from bisect import bisect_right
from calendar import isleap
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache

from ecosystems.market.new_york_time import LAST, NEW_YORK, new_york

KNOWN_YEARS = range(1990, 2200)
"""Years that `exchange_calendars` is asked for: pandas ends in 2262, no record begins before 1990."""

OPEN, CLOSE = time(9, 30), time(16)


def is_open(at: datetime) -> bool:
    """Return whether the regular session is on at `at` (aware), from the opening to before the closing.

    Outside KNOWN_YEARS a week has five full days and no holidays. Raises ImportError without the package
    `exchange_calendars`.
    """
    changes = _changes(new_york(at).year)
    return bisect_right(changes, at) % 2 == 1


def next_change(at: datetime) -> datetime | None:
    """Return the UTC time after `at` of the next opening or closing; None at the calendar's end."""
    if at >= LAST:
        return None
    year = new_york(at).year
    for changes in (_changes(year), _changes(min(year + 1, LAST.year))):
        index = bisect_right(changes, at)
        if index < len(changes):
            return changes[index]
    return None


@lru_cache(maxsize=16)
def _changes(year: int) -> tuple[datetime, ...]:
    """Return a year's openings and closings in turn, in UTC.

    One year at a time (80 ms, then cached), because a calendar of `exchange_calendars` ends a year after it
    was made: a process that runs for longer would pass its end.
    """
    return tuple(_known_changes(year) if year in KNOWN_YEARS else _plain_changes(year))


def _known_changes(year: int) -> Iterator[datetime]:
    # Imported here, because it brings pandas: an agent of another ecosystem needs neither.
    from exchange_calendars.exchange_calendar_xnys import (  # type: ignore[import-untyped]
        XNYSExchangeCalendar,
    )

    calendar = XNYSExchangeCalendar(start=f"{year}-01-01", end=f"{year}-12-31")
    for session in zip(calendar.opens, calendar.closes, strict=True):
        yield from (change.to_pydatetime().astimezone(UTC) for change in session)


def _plain_changes(year: int) -> Iterator[datetime]:
    for number in range(365 + isleap(year)):
        day = date(year, 1, 1) + timedelta(days=number)
        if day.weekday() < 5:
            yield from (datetime.combine(day, at, NEW_YORK).astimezone(UTC) for at in (OPEN, CLOSE))
