"""The trading hours of spot forex: Sunday 17:00 to Friday 17:00 in New York, with its daylight saving.

17:00 New York is where the market's day rolls over and where OANDA, FXCM and TradingView cut the week. A
broker's own holiday hours are not covered.
"""

from datetime import UTC, datetime, time, timedelta

from ecosystems.market.new_york_time import LAST, NEW_YORK, new_york

ROLLOVER = time(17)
FRIDAY, SATURDAY, SUNDAY = 4, 5, 6


def is_open(at: datetime) -> bool:
    """Return whether the market trades at `at` (aware); the opening minute is in, the closing one out."""
    local = new_york(at)
    if local.weekday() == SUNDAY:
        return local.time() >= ROLLOVER
    if local.weekday() == FRIDAY:
        return local.time() < ROLLOVER
    return local.weekday() != SATURDAY


def next_change(at: datetime) -> datetime | None:
    """Return the UTC time after `at` at which the market next opens or closes; None at the calendar's end."""
    if at >= LAST:
        return None
    local = new_york(at)
    weekday = FRIDAY if is_open(at) else SUNDAY
    day = local.date() + timedelta(days=(weekday - local.weekday()) % 7)
    # The clocks change at two in the morning, so 17:00 exists once on every day.
    return datetime.combine(day, ROLLOVER, NEW_YORK).astimezone(UTC)
