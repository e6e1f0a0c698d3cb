"""Forex candles from OANDA's v20 REST API, practice and live.

`GET /v3/instruments/{instrument}/candles`: https://developer.oanda.com/rest-live-v20/instrument-ep/.
Prices are midpoints.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial

import msgspec
import requests

from ecosystems.forex.symbols import canonical
from ecosystems.market.candles import Candle, duration
from ecosystems.market.feeds import FeedError, FeedOutage
from ecosystems.market.live_feeds import (
    MALFORMED,
    TIMEOUT_S,
    closed_candles,
    make_candle,
    now_utc,
    requested_wait,
    service_message,
    unreachable,
)

PRACTICE, LIVE = "https://api-fxpractice.oanda.com", "https://api-fxtrade.oanda.com"
OANDA_PAGE = 1000
"""Candles of a request; OANDA returns up to 5000."""

GRANULARITY = {
    **{f"{n}s": f"S{n}" for n in (5, 10, 15, 30)},
    **{f"{n}m": f"M{n}" for n in (1, 2, 4, 5, 10, 15, 30)},
    **{f"{n}h": f"H{n}" for n in (1, 2, 3, 4, 6, 8, 12)},
    "1d": "D",
    "1w": "W",
}


class _Prices(msgspec.Struct):
    o: str
    h: str
    l: str  # noqa: E741 - OANDA's name
    c: str


class _Candlestick(msgspec.Struct):
    time: str
    volume: int
    complete: bool
    mid: _Prices


class _Answer(msgspec.Struct):
    candles: list[_Candlestick]


class OandaFeed:
    """Candles of an OANDA account's market."""

    def __init__(
        self,
        token: str | None,
        *,
        live: bool = False,
        url: str | None = None,
        clock: Callable[[], datetime] = now_utc,
    ) -> None:
        """`url` replaces OANDA's host. Raises FeedError without a token."""
        if not token:
            raise FeedError(
                "OANDA_TOKEN is not set: create a personal access token in OANDA's account management"
            )
        self.tags: tuple[str, ...] = ()
        self._account = "live" if live else "practice"
        self._url = url or (LIVE if live else PRACTICE)
        self._clock = clock
        self._session = requests.Session()
        self._session.headers.update(
            {"Authorization": f"Bearer {token}", "Accept-Datetime-Format": "RFC3339"}
        )
        # Keeps requests from replacing the token by one of `~/.netrc` for this host.
        self._session.auth = lambda request: request

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:
        """Yield the closed candles of a market, as `Feed` describes."""
        length = duration(timeframe)
        if timeframe not in GRANULARITY:
            raise FeedError(f"OANDA has no timeframe {timeframe!r}: it has {', '.join(GRANULARITY)}")
        instrument = (canonical(symbol) or symbol.upper()).replace("/", "_")
        return closed_candles(
            partial(self._page, instrument, GRANULARITY[timeframe]),
            ecosystem="forex",
            since=since,
            length=length,
            span=OANDA_PAGE * length,
            clock=self._clock,
        )

    def _page(self, instrument: str, granularity: str, start: datetime) -> list[Candle]:
        begin = start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        query = {"price": "M", "granularity": granularity, "from": begin, "count": str(OANDA_PAGE)}
        try:
            response = self._session.get(
                f"{self._url}/v3/instruments/{instrument}/candles",
                params=query,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        except requests.RequestException as error:
            raise unreachable("OANDA", error, "check the network and OANDA_URL") from error
        if response.status_code != requests.codes.ok:
            raise self._refusal(response, instrument)
        try:
            answer = msgspec.json.decode(response.content, type=_Answer)
            return [_candle(stick) for stick in answer.candles if stick.complete]
        except MALFORMED as error:
            raise FeedOutage("the answer is not OANDA's: check OANDA_URL") from error

    def _refusal(self, response: requests.Response, instrument: str) -> FeedError:
        """Return the error for an answer other than 200, with what to do about it."""
        status, message = response.status_code, service_message(response.content, "errorMessage")
        if status in {401, 403}:
            other = "practice" if self._account == "live" else "live"
            return FeedError(
                f"OANDA refuses OANDA_TOKEN ({status}{message}): it must be a token of a {self._account} "
                f"account; one of a {other} account needs OANDA_ENVIRONMENT={other}"
            )
        if status in {400, 404} and "instrument" in message:
            return FeedError(f"OANDA has no instrument {instrument}{message}: write it like EUR_USD")
        if status == 429 or status >= 500:
            return FeedOutage(f"OANDA answered {status}{message}", requested_wait(response.headers))
        return FeedError(f"OANDA answered {status}{message}: check OANDA_URL and the options")


def _candle(stick: _Candlestick) -> Candle:
    at = datetime.fromisoformat(stick.time).astimezone(UTC)
    return make_candle(at, stick.mid.o, stick.mid.h, stick.mid.l, stick.mid.c, stick.volume)
