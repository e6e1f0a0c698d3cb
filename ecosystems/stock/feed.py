"""Stock candles from Alpaca by `alpaca-py`; keys of a paper or of a live account.

https://docs.alpaca.markets/reference/stockbars. Prices are adjusted for splits, which look like crashes.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests
from alpaca.common.exceptions import APIError
from alpaca.data.enums import Adjustment, DataFeed
from alpaca.data.historical import StockHistoricalDataClient
from alpaca.data.requests import StockBarsRequest
from alpaca.data.timeframe import TimeFrame, TimeFrameUnit
from alpaca.trading.client import TradingClient

from ecosystems.market.candles import Candle, duration
from ecosystems.market.feeds import FeedError, FeedOutage
from ecosystems.market.live_feeds import (
    INSTANT,
    MALFORMED,
    TIMEOUT_S,
    closed_candles,
    make_candle,
    now_utc,
    requested_wait,
    service_message,
    unreachable,
)
from ecosystems.stock.calendar import is_open
from ecosystems.stock.symbols import canonical

ALPACA_PAGE = 1000
"""Candles of a request; Alpaca returns up to 10,000, or fewer with a token for the next page."""

ALPACA_UNITS = {
    "m": TimeFrameUnit.Minute,
    "h": TimeFrameUnit.Hour,
    "d": TimeFrameUnit.Day,
    "w": TimeFrameUnit.Week,
}


class _OneTry:
    """Mixed into alpaca-py's clients, which have no timeout and retry at once on 429."""

    def _one_request(self, method: str, url: str, opts: dict[str, Any], retry: int) -> Any:  # noqa: ARG002
        return super()._one_request(method, url, {**opts, "timeout": TIMEOUT_S}, 0)  # type: ignore[misc]


class _DataClient(_OneTry, StockHistoricalDataClient):
    pass


class _TradingClient(_OneTry, TradingClient):
    pass


class AlpacaFeed:
    """Candles of US stocks. IEX's trades come with every account, the whole market's (sip) for a fee."""

    def __init__(
        self,
        api_key: str | None,
        secret_key: str | None,
        *,
        live: bool = False,
        data_feed: str = "iex",
        data_url: str | None = None,
        trading_url: str | None = None,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """The URLs replace Alpaca's hosts. Raises FeedError without keys."""
        if not api_key or not secret_key:
            raise FeedError(
                "ALPACA_API_KEY and ALPACA_SECRET_KEY are not set: create keys in Alpaca's dashboard"
            )
        self.tags: tuple[str, ...] = ()
        self._account = "live" if live else "paper"
        self._data_feed = DataFeed(data_feed)
        self._clock = clock
        self._known: set[str] = set()
        self._data = _DataClient(api_key, secret_key, raw_data=True, url_override=data_url)
        self._trading = _TradingClient(
            api_key, secret_key, paper=not live, raw_data=True, url_override=trading_url
        )

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:
        """Yield the closed candles of regular sessions, as `Feed` describes."""
        length = duration(timeframe)
        frame = _frame(timeframe)
        ticker = canonical(symbol) or symbol
        self._check(ticker)
        candles = closed_candles(
            partial(self._page, ticker, frame),
            ecosystem="stock",
            since=since,
            length=length,
            # A page extends to its thousandth candle or to now, over nights and holidays.
            span=timedelta(days=36_500),
            clock=self._clock,
        )
        return (candle for candle in candles if _regular(candle.timestamp, length))

    def _check(self, ticker: str) -> None:
        """Raise FeedError for an unknown stock: the data API answers with no candles to any name."""
        if ticker not in self._known:
            self._call(ticker, partial(self._trading.get_asset, ticker), "ALPACA_TRADING_URL")
            self._known.add(ticker)

    def _page(self, ticker: str, frame: TimeFrame, start: datetime) -> list[Candle]:
        query = StockBarsRequest(
            symbol_or_symbols=ticker,
            timeframe=frame,
            start=start,
            limit=ALPACA_PAGE,
            feed=self._data_feed,
            adjustment=Adjustment.SPLIT,
        )
        bars = self._call(ticker, partial(self._data.get_stock_bars, query), "ALPACA_DATA_URL")
        try:
            return [
                make_candle(
                    datetime.fromisoformat(bar["t"]).astimezone(UTC), *(bar[name] for name in "ohlcv")
                )
                for bar in bars.get(ticker) or []
            ]
        except MALFORMED as error:
            raise FeedOutage("the answer is not Alpaca's: check ALPACA_DATA_URL") from error

    def _call(self, ticker: str, request: Callable[[], Any], variable: str) -> Any:
        try:
            return request()
        except APIError as error:
            raise self._refusal(error, ticker, variable) from error
        except requests.JSONDecodeError as error:
            raise FeedOutage(f"the answer is not Alpaca's: check {variable}") from error
        except requests.RequestException as error:
            raise unreachable("Alpaca", error, f"check the network and {variable}") from error
        except MALFORMED as error:
            raise FeedOutage(f"the answer is not Alpaca's: check {variable}") from error

    def _refusal(self, error: APIError, ticker: str, variable: str) -> FeedError:
        """Return the error for an answer other than 200, with what to do about it."""
        status, response = error.status_code or 0, error.response
        message = "" if response is None else service_message(response.content, "message")
        if status == 404 and "asset" in message:
            return FeedError(f"Alpaca has no stock {ticker}{message}: write it like AAPL or BRK.B")
        if status == 403 and "subscription" in message:
            return FeedError(f"Alpaca refuses the data{message}: set ALPACA_DATA_FEED=iex, or subscribe")
        if status in {401, 403}:
            other = "paper" if self._account == "live" else "live"
            return FeedError(
                f"Alpaca refuses ALPACA_API_KEY and ALPACA_SECRET_KEY ({status}{message}): they must be "
                f"those of a {self._account} account; a {other} one needs ALPACA_ENVIRONMENT={other}"
            )
        if status == 429 or status >= 500:
            return FeedOutage(
                f"Alpaca answered {status}{message}", None if response is None else _wait(response.headers)
            )
        return FeedError(f"Alpaca answered {status}{message}: check {variable} and the options")


def _regular(opened: datetime, length: timedelta) -> bool:
    """Return whether a candle overlaps the regular session, as that of 9:00 to 10:00 in New York does."""
    return length >= timedelta(days=1) or is_open(opened) or is_open(opened + length - INSTANT)


def _frame(timeframe: str) -> TimeFrame:
    """Return alpaca-py's form of a timeframe. Raises FeedError for one that Alpaca does not have."""
    try:
        return TimeFrame(int(timeframe[:-1]), ALPACA_UNITS[timeframe[-1]])
    except (KeyError, ValueError):
        raise FeedError(
            f"Alpaca has no timeframe {timeframe!r}: it has 1m to 59m, 1h to 23h, 1d and 1w"
        ) from None


def _wait(headers: Any) -> float | None:
    """Return the seconds to wait after a 429: Alpaca states when its minute ends, not how long to wait."""
    seconds = requested_wait(headers)
    reset = str(headers.get("X-RateLimit-Reset", ""))
    if seconds is None and reset.isdecimal():
        seconds = min(max(int(reset) - now_utc().timestamp(), 0.0), 60.0)
    return seconds
