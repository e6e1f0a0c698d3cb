"""Shared parts of the live feeds: paging, closed candles, gaps and errors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec
import requests

from ecosystems.http_errors import innermost_text, one_line, retry_after
from ecosystems.market.calendars import is_market_open
from ecosystems.market.candles import Candle
from ecosystems.market.feeds import FeedOutage

CLOSE_GRACE = timedelta(seconds=2)
"""How long after its end a candle counts as closed: last trades and the service's clock may be late."""

DEFAULT_CANDLES = 500
INSTANT = timedelta(microseconds=1)
TIMEOUT_S = 10.0

MALFORMED = (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What reading an answer raises that is not shaped like the service's."""

Fetch = Callable[[datetime], list[Candle]]
"""Returns a page: candles that opened at a time or later, perhaps with the open one."""


def now_utc() -> datetime:
    """Return the time: the clock of the live feeds."""
    return datetime.now(UTC)


def closed_candles(
    fetch: Fetch,
    *,
    ecosystem: str,
    since: datetime | None,
    length: timedelta,
    span: timedelta,
    clock: Callable[[], datetime],
) -> Iterator[Candle]:
    """Yield each candle from `since` on that has closed, once, oldest first, page by page.

    `span` is the time that a page covers at least: an empty page means that nothing was traded in it. A page
    with a gap in trading hours is fetched once more from the gap on.
    """
    start = clock() - DEFAULT_CANDLES * length if since is None else since
    closes = start + length
    while closes <= clock() - CLOSE_GRACE:
        page = _closed(fetch(start), start, length, clock)
        if gap := _first_gap(page, start, length, ecosystem):
            page = _closed([*fetch(gap), *page], start, length, clock)
        yield from page
        start = page[-1].timestamp + INSTANT if page else start + span
        closes = start + (2 if page else 1) * length


def _closed(
    page: list[Candle], start: datetime, length: timedelta, clock: Callable[[], datetime]
) -> list[Candle]:
    now = clock() - CLOSE_GRACE
    found = {c.timestamp: c for c in page if c.timestamp >= start and c.timestamp + length <= now}
    return sorted(found.values(), key=lambda candle: candle.timestamp)


def _first_gap(page: list[Candle], start: datetime, length: timedelta, ecosystem: str) -> datetime | None:
    """Return when the first missing candle opened; nights, weekends and holidays are no gaps."""
    before = start - INSTANT
    for candle in page:
        expected = before + length
        if candle.timestamp > expected and is_market_open(ecosystem, expected):
            return expected
        before = candle.timestamp
    return None


def make_candle(at: datetime, *values: Any) -> Candle:
    """Return a candle of open, high, low, close and volume, each text or a number in its shortest spelling.

    Raises FeedOutage for another value: a service that sends one is likely to be repaired.
    """
    with suppress(InvalidOperation, TypeError):
        numbers = [Decimal(str(value)) for value in values]
        if all(number.is_finite() for number in numbers):
            return Candle(at, *numbers)
    raise FeedOutage("the service sent a candle with a price that is not a number")


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds that an answer's headers ask for."""
    return retry_after(headers.get("Retry-After", ""), now_utc())


def service_message(body: bytes, key: str) -> str:
    """Return the service's own message under a key of its JSON, as `: message`; empty where there is none."""
    try:
        message = str(msgspec.json.decode(body)[key])
    except MALFORMED:
        return ""
    return f": {one_line(message)[:200]}"


def unreachable(service: str, error: Exception, hint: str) -> FeedOutage:
    """Return the outage of a service that does not answer; `hint` says what to check."""
    late = isinstance(error, requests.Timeout)
    why = f"no answer within {TIMEOUT_S:.0f} s" if late else innermost_text(error)
    return FeedOutage(f"{service} cannot be reached ({why}): {hint}")
