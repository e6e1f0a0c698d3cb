"""What the live feeds share: pages of candles become each closed candle once, and errors one line.

`open_feed` is the choice of a feed by what an operator writes.
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import requests

from ecosystems.http_errors import causes, retry_after
from ecosystems.market import csv_feed
from ecosystems.market.calendars import is_open
from ecosystems.market.candles import Candle, Feed, FeedError

if TYPE_CHECKING:
    from ecosystems.market.credentials import Markets

GRACE = timedelta(seconds=2)
"""How long after a candle's end it is taken for closed: last trades and the service's clock may be late."""

DEFAULT_COUNT = 500
INSTANT = timedelta(microseconds=1)
TIMEOUT_S = 10.0

Fetch = Callable[[datetime], list[Candle]]
"""Returns a page: candles that opened at a time or later, perhaps with the half-built one."""


class FeedOutage(FeedError):
    """The service cannot answer now, and may later; `after` is the wait in seconds that it asked for."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


def now_utc() -> datetime:
    """The clock of the live feeds."""
    return datetime.now(UTC)


def open_feed(spec: str, ecosystem: str, markets: "Markets") -> Feed:
    """Return the feed that `--feed` names: `live`, `live:EXCHANGE` for crypto, or one of `market.csv_feed`.

    Raises FeedError. The client of a live feed is imported here, so that the others do without it.
    """
    kind, _, venue = spec.partition(":")
    if kind != "live":
        try:
            return csv_feed.open_feed(spec, ecosystem)
        except FeedError as error:
            raise FeedError(f"{error}, nor live") from None
    if venue and ecosystem != "crypto":
        raise FeedError(f"feed {spec!r}: only crypto has a choice of exchanges; write live")
    if ecosystem == "crypto":
        from ecosystems.crypto.feed import CcxtFeed

        return CcxtFeed(venue or markets.ccxt_exchange, url=markets.ccxt_url)
    if ecosystem == "forex":
        from ecosystems.forex.feed import OandaFeed

        return OandaFeed(markets.oanda_token, live=markets.oanda_live, url=markets.oanda_url)
    from ecosystems.stock.feed import AlpacaFeed

    return AlpacaFeed(
        markets.alpaca_api_key,
        markets.alpaca_secret_key,
        live=markets.alpaca_live,
        data_feed=markets.alpaca_data_feed,
        data_url=markets.alpaca_data_url,
        trading_url=markets.alpaca_trading_url,
    )


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

    `span` is the time that a page reaches at least: an empty one says no more than that nothing was traded
    in it. A page with a gap in trading hours is fetched once more from the gap on.
    """
    start = clock() - DEFAULT_COUNT * length if since is None else since
    closes = start + length
    while closes <= clock() - GRACE:
        page = _closed(fetch(start), start, length, clock)
        if hole := _hole(page, start, length, ecosystem):
            again = _closed(fetch(hole), hole, length, clock)
            page = sorted({c.timestamp: c for c in (*again, *page)}.values(), key=lambda c: c.timestamp)
        yield from page
        start = page[-1].timestamp + INSTANT if page else start + span
        closes = start + (2 if page else 1) * length


def _closed(
    page: list[Candle], start: datetime, length: timedelta, clock: Callable[[], datetime]
) -> list[Candle]:
    now = clock() - GRACE
    found = {c.timestamp: c for c in page if c.timestamp >= start and c.timestamp + length <= now}
    return sorted(found.values(), key=lambda candle: candle.timestamp)


def _hole(page: list[Candle], start: datetime, length: timedelta, ecosystem: str) -> datetime | None:
    """Return where the first candle seems to be missing; nights, weekends and holidays are no gaps."""
    before = start - INSTANT
    for candle in page:
        expected = before + length
        if candle.timestamp > expected and is_open(ecosystem, expected):
            return expected
        before = candle.timestamp
    return None


def candle_of(at: datetime, *values: Any) -> Candle:
    """Return a candle of open, high, low, close and volume, each text or a number in its shortest spelling.

    Raises FeedOutage for what is no number: a service that answers so is being mended.
    """
    try:
        return Candle(at, *(Decimal(str(value)) for value in values))
    except (InvalidOperation, TypeError) as error:
        raise FeedOutage("the service sent a candle whose prices are no numbers") from error


def wait_asked(headers: Mapping[str, str]) -> float | None:
    """Return the wait in seconds that an answer's headers ask for."""
    return retry_after(headers.get("Retry-After", ""), now_utc())


def unreachable(service: str, error: Exception, hint: str) -> FeedOutage:
    """Return the outage of a service that does not answer; `hint` says what to look at."""
    late = isinstance(error, requests.Timeout)
    why = f"no answer within {TIMEOUT_S:.0f} s" if late else _words(error)
    return FeedOutage(f"{service} cannot be reached ({why}): {hint}")


def _words(error: BaseException) -> str:
    """The innermost cause's own words: requests wraps them three times, with the whole URL."""
    words = [one.strerror for one in causes(error) if isinstance(one, OSError) and one.strerror]
    return words[-1] if words else type(error).__name__
