"""Crypto candles from any exchange that `ccxt` knows, by public endpoints: no key is needed.

ccxt keeps to the exchange's rate limit by itself (https://docs.ccxt.com, "Rate Limit").
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import ccxt  # type: ignore[import-untyped]

from ecosystems.crypto.symbols import canonical
from ecosystems.http_errors import one_line
from ecosystems.market.candles import Candle, duration
from ecosystems.market.feeds import FeedError, FeedOutage
from ecosystems.market.live_feeds import (
    MALFORMED,
    TIMEOUT_S,
    closed_candles,
    make_candle,
    now_utc,
    requested_wait,
    unreachable,
)

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
CCXT_PAGE = 500
"""Candles of a request where ccxt does not know the exchange's limit."""


class CcxtFeed:
    """Candles of one exchange; `exchange` is its client."""

    def __init__(
        self, exchange: str, *, url: str | None = None, clock: Callable[[], datetime] = now_utc
    ) -> None:
        """`url` replaces scheme and host of the exchange's addresses. Raises FeedError."""
        if exchange not in ccxt.exchanges:
            likely = get_close_matches(exchange.lower(), ccxt.exchanges, 3) or ["binance", "kraken"]
            raise FeedError(f"ccxt knows no exchange {exchange!r}: try {', '.join(likely)}")
        # As text, prices keep every digit that the exchange wrote.
        self.exchange: Any = getattr(ccxt, exchange)(
            {"number": str, "timeout": int(TIMEOUT_S * 1000), "enableLastJsonResponse": True}
        )
        if not self.exchange.has["fetchOHLCV"]:
            raise FeedError(f"{exchange} has no candles: choose another exchange that ccxt knows")
        self._credentials = "".join(urlsplit(url or "").netloc.rpartition("@")[:2])
        if url:
            self.exchange.urls["api"] = _with_host(self.exchange.urls["api"], url)
        self.tags: tuple[str, ...] = ()
        self.name = exchange
        self._clock = clock
        self._skew = timedelta(0)

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:
        """Yield the closed candles of a market, as `Feed` describes."""
        length = duration(timeframe)
        if timeframe not in (self.exchange.timeframes or {}):
            known = ", ".join(self.exchange.timeframes or {})
            raise FeedError(f"{self.name} has no timeframe {timeframe!r}: it has {known}")
        market = self._market(symbol)
        count = self._page_size(market)
        return closed_candles(
            partial(self._page, market, timeframe, count),
            ecosystem="crypto",
            since=since,
            length=length,
            span=count * length,
            clock=lambda: self._clock() - self._skew,
        )

    def _market(self, symbol: str) -> str:
        """Return the exchange's name of the market. Raises FeedError with suggestions."""
        markets = self._call(self.exchange.load_markets)
        for name in (symbol, canonical(symbol)):
            if name in markets:
                return str(name)
        likely = get_close_matches(canonical(symbol) or symbol.upper(), list(markets), 3)
        hint = f"try {', '.join(likely)}" if likely else "write it like BTC/USDT"
        raise FeedError(f"{self.name} has no market {symbol!r}: {hint}")

    def _page_size(self, market: str) -> int:
        """Return how many candles a request returns, by ccxt's own table of the exchanges' features."""
        features = self.exchange.feature_value(market, "fetchOHLCV", "limit", CCXT_PAGE)
        return int(features or CCXT_PAGE)

    def _page(self, market: str, timeframe: str, count: int, start: datetime) -> list[Candle]:
        since = -(-int(start.timestamp() * 1_000_000) // 1000)
        rows = self._call(partial(self.exchange.fetch_ohlcv, market, timeframe, since, count))
        if self.exchange.last_json_response is None:
            raise FeedOutage(f"the answer is not {self.name}'s: check CCXT_URL")
        self._note_clock()
        return self._call(partial(_candles, rows))

    def _note_clock(self) -> None:
        """Remember by how much this machine's clock is ahead, which would make open candles look closed."""
        try:
            server_time = parsedate_to_datetime(self._headers().get("Date", "")).astimezone(UTC)
        except MALFORMED:
            return
        ahead = self._clock() - server_time - timedelta(seconds=1)
        self._skew = max(ahead, timedelta(0))

    def _headers(self) -> Mapping[str, str]:
        headers: Mapping[str, str] = self.exchange.last_response_headers or {}
        return headers

    def _call(self, request: Callable[[], T]) -> T:
        try:
            return request()
        except (ccxt.RateLimitExceeded, ccxt.DDoSProtection) as error:
            raise FeedOutage(
                f"{self.name} limits the rate of requests", requested_wait(self._headers())
            ) from error
        except (ccxt.AuthenticationError, ccxt.RestrictedLocation) as error:
            raise FeedError(f"{self.name} refuses: {self._text(error)}; choose another exchange") from error
        except ccxt.NetworkError as error:
            if error.__cause__ is not None and getattr(error.__cause__, "response", None) is None:
                raise unreachable(self.name, error.__cause__, "check the network and CCXT_URL") from error
            raise FeedOutage(
                f"{self.name} does not answer: {self._text(error)}", requested_wait(self._headers())
            ) from error
        except (ccxt.BadSymbol, ccxt.BadRequest, ccxt.NotSupported) as error:
            raise FeedError(f"{self.name} refuses the request: {self._text(error)}") from error
        except ccxt.BaseError as error:
            raise FeedOutage(f"{self.name} answered with an error: {self._text(error)}") from error
        except MALFORMED as error:
            raise FeedOutage(f"the answer is not {self.name}'s: check CCXT_URL") from error

    def _text(self, error: ccxt.BaseError) -> str:
        """Return ccxt's text, which quotes the address that it asked, without the password of `url`."""
        return one_line(error).replace(self._credentials, "")[:300]


def _candles(rows: list[Any]) -> list[Candle]:
    """Return the candles of ccxt's rows, but those in which nothing was traded, which have no prices."""
    return [
        make_candle(EPOCH + timedelta(milliseconds=at), *prices, volume or 0)
        for at, *prices, volume in rows
        if None not in prices
    ]


def _with_host(urls: Any, url: str) -> Any:
    """Return ccxt's addresses, a text or a tree of them, with another scheme and host."""
    if isinstance(urls, dict):
        return {name: _with_host(each, url) for name, each in urls.items()}
    parts = urlsplit(url)
    return urlunsplit(urlsplit(urls)._replace(scheme=parts.scheme, netloc=parts.netloc))
