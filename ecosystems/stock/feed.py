"""Stock candles from Alpaca by `alpaca-py`; keys of a paper or of a live account.

https://docs.alpaca.markets/reference/stockbars. Prices are adjusted for splits, lest they look like crashes.
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

from ecosystems.market.candles import Candle, FeedError, duration
from ecosystems.market.feeds import (
    INSTANT,
    TIMEOUT_S,
    FeedOutage,
    candle_of,
    closed_candles,
    now_utc,
    unreachable,
    wait_asked,
)
from ecosystems.stock.calendar import is_open
from ecosystems.stock.symbols import canonical

PAGE = 1000
"""Candles of a request; Alpaca gives up to 10,000, and fewer with a token for the rest."""

UNITS = {
    "m": TimeFrameUnit.Minute,
    "h": TimeFrameUnit.Hour,
    "d": TimeFrameUnit.Day,
    "w": TimeFrameUnit.Week,
}


class _OneTry:
    """Mixed into alpaca-py's clients, which wait for ever and blindly try again on 429."""

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
                "ALPACA_API_KEY and ALPACA_SECRET_KEY are not set: make keys in Alpaca's dashboard"
            )
        self.tags: tuple[str, ...] = ()
        self._where = "live" if live else "paper"
        self._data_feed = DataFeed(data_feed)
        self._clock = clock
        self._known: set[str] = set()
        self._data = _DataClient(api_key, secret_key, raw_data=True, url_override=data_url)
        self._trading = _TradingClient(
            api_key, secret_key, paper=not live, raw_data=True, url_override=trading_url
        )

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:
        """Yield the closed candles that opened at `since` or later; without it, those of some time back.

        Candles of extended hours are left out. Raises FeedError, FeedOutage for what may pass, and
        ValueError for a timeframe that is none.
        """
        length = duration(timeframe)
        frame = _frame(timeframe)
        ticker = canonical(symbol) or symbol
        self._check(ticker)
        candles = closed_candles(
            partial(self._page, ticker, frame),
            ecosystem="stock",
            since=since,
            length=length,
            # A page reaches to its thousandth candle or to now, over nights and holidays.
            span=timedelta(days=36_500),
            clock=self._clock,
        )
        return (candle for candle in candles if _regular(candle.timestamp, length))

    def _check(self, ticker: str) -> None:
        """Ask the account's side for the symbol: the data side answers with no candles to any name."""
        if ticker not in self._known:
            self._call(ticker, partial(self._trading.get_asset, ticker), "ALPACA_TRADING_URL")
            self._known.add(ticker)

    def _page(self, ticker: str, frame: TimeFrame, start: datetime) -> list[Candle]:
        query = StockBarsRequest(
            symbol_or_symbols=ticker,
            timeframe=frame,
            start=start,
            limit=PAGE,
            feed=self._data_feed,
            adjustment=Adjustment.SPLIT,
        )
        bars = self._call(ticker, partial(self._data.get_stock_bars, query), "ALPACA_DATA_URL")
        try:
            return [
                candle_of(datetime.fromisoformat(bar["t"]).astimezone(UTC), *(bar[name] for name in "ohlcv"))
                for bar in bars.get(ticker) or []
            ]
        except (KeyError, TypeError, ValueError) as error:
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
        except (AttributeError, TypeError, ValueError) as error:
            # What alpaca-py raises for JSON of another shape than Alpaca's.
            raise FeedOutage(f"the answer is not Alpaca's: check {variable}") from error

    def _refusal(self, error: APIError, ticker: str, variable: str) -> FeedError:
        """Say what an answer other than 200 means, and how to mend it."""
        status, response = error.status_code or 0, error.response
        said = _said(response)
        if status == 404 and "asset" in said:
            return FeedError(f"Alpaca has no stock {ticker}{said}: write it like AAPL or BRK.B")
        if status == 403 and "subscription" in said:
            return FeedError(f"Alpaca refuses the data{said}: set ALPACA_DATA_FEED=iex, or subscribe")
        if status in {401, 403}:
            other = "paper" if self._where == "live" else "live"
            return FeedError(
                f"Alpaca refuses ALPACA_API_KEY and ALPACA_SECRET_KEY ({status}{said}): they must be "
                f"those of a {self._where} account; a {other} one needs ALPACA_ENVIRONMENT={other}"
            )
        if status == 429 or status >= 500:
            return FeedOutage(
                f"Alpaca answered {status}{said}", None if response is None else _wait(response.headers)
            )
        return FeedError(f"Alpaca answered {status}{said}: check {variable} and the options")


def _regular(opened: datetime, length: timedelta) -> bool:
    """Tell whether a candle has a part in the regular session: that of 9:00 to 10:00 in New York has."""
    return length >= timedelta(days=1) or is_open(opened) or is_open(opened + length - INSTANT)


def _frame(timeframe: str) -> TimeFrame:
    """Return alpaca-py's name of a timeframe. Raises FeedError for one that Alpaca has not."""
    try:
        return TimeFrame(int(timeframe[:-1]), UNITS[timeframe[-1]])
    except (KeyError, ValueError):
        raise FeedError(
            f"Alpaca has no timeframe {timeframe!r}: it has 1m to 59m, 1h to 23h, 1d and 1w"
        ) from None


def _wait(headers: Any) -> float | None:
    """Seconds to wait after a 429: Alpaca says when its minute ends instead of how long to wait."""
    asked = wait_asked(headers)
    reset = str(headers.get("X-RateLimit-Reset", ""))
    if asked is None and reset.isdecimal():
        asked = min(max(int(reset) - now_utc().timestamp(), 0.0), 60.0)
    return asked


def _said(response: Any) -> str:
    """Alpaca's own words on an error, as `: words`."""
    try:
        words = str(response.json()["message"])
    except (AttributeError, ValueError, TypeError, KeyError):
        return ""
    return ": " + " ".join(words.split())[:200]
