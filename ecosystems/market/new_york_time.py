"""Wall-clock time in New York, where the forex week and the US stock session are defined."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")

_MARGIN = timedelta(days=14)
FIRST = datetime.min.replace(tzinfo=UTC) + _MARGIN
LAST = datetime.max.replace(tzinfo=UTC) - _MARGIN
"""The ends of the calendar, with a margin, so that a zone's offset and a week's arithmetic stay inside it."""


def new_york(at: datetime) -> datetime:
    """Return `at` on New York's clock, kept between FIRST and LAST. Raises ValueError for a naive time."""
    if at.utcoffset() is None:
        raise ValueError("a time without a UTC offset: pass an aware datetime")
    return min(max(at, FIRST), LAST).astimezone(NEW_YORK)
