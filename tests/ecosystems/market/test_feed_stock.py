"""Alpaca's candles, from a local server that answers as its data and trading APIs document it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ecosystems import env
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError, FeedOutage
from ecosystems.stock.feed import AlpacaFeed
from tests.ecosystems.bus.services import Asked, Reply, Service

OPEN = datetime(2024, 3, 4, 14, 30, tzinfo=UTC)
"""A Monday's opening bell in New York."""
MINUTE = timedelta(minutes=1)


def bar(at: datetime, close: float = 175.11) -> dict:
    return {
        "t": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "o": 175.1,
        "h": 175.5,
        "l": 174.25,
        "c": close,
        "v": 1118,
        "n": 65,
        "vw": 175.2,
    }


class Alpaca(Service):
    """Both hosts of an account; `page` caps an answer below what is asked for."""

    def __init__(self, bars: list[dict], page: int = 10_000) -> None:
        self.bars = bars
        self.page = page
        super().__init__(self.answer)

    def answer(self, asked: Asked) -> Reply:
        if asked.path.startswith("/v2/assets/"):
            return self.asset(asked.path.rpartition("/")[2])
        begin = int(asked.query.get("page_token", 0))
        found = [each for each in self.bars if each["t"] >= asked.query["start"][:19]]
        end = begin + min(int(asked.query["limit"]), self.page)
        token = str(end) if end < len(found) else None
        return Reply({"bars": {"AAPL": found[begin:end]}, "next_page_token": token})

    @staticmethod
    def asset(ticker: str) -> Reply:
        if ticker == "AAPL":
            return Reply({"symbol": "AAPL", "class": "us_equity", "tradable": True})
        return Reply({"code": 40410000, "message": f"asset not found for {ticker}"}, 404)

    @property
    def queries(self) -> list[dict[str, str]]:
        return [asked.query for asked in self.asked if asked.path == "/v2/stocks/bars"]


def feed(service: Service, now: datetime, **options) -> AlpacaFeed:
    urls = {"data_url": service.url, "trading_url": service.url}
    return AlpacaFeed("key-1", "secret-1", clock=lambda: now, **urls, **options)


def minutes_of(candles) -> list[float]:
    return [(candle.timestamp - OPEN) / MINUTE for candle in candles]


def test_closed_candles_come_once_and_the_half_built_one_never():
    with Alpaca([bar(OPEN + n * MINUTE) for n in range(4)]) as alpaca:
        live = feed(alpaca, OPEN + 3.5 * MINUTE)
        found = list(live.candles("AAPL", "1m", OPEN))
        after = OPEN + 2 * MINUTE + timedelta(microseconds=1)
        assert list(live.candles("AAPL", "1m", after)) == []
        later = list(feed(alpaca, OPEN + 4.5 * MINUTE).candles("AAPL", "1m", after))
    assert minutes_of(found) == [0, 1, 2]
    assert (found[0].low, found[0].close, found[0].volume) == (Decimal("174.25"), Decimal("175.11"), 1118)
    assert minutes_of(later) == [3]


def test_pages_are_followed_by_their_tokens_and_beyond_them():
    with Alpaca([bar(OPEN + n * MINUTE) for n in range(390)], page=150) as alpaca:
        found = list(feed(alpaca, OPEN + 400 * MINUTE).candles("AAPL", "1m", OPEN))
    assert minutes_of(found) == list(range(390))
    assert [query.get("page_token") for query in alpaca.queries[:3]] == [None, "150", "300"]


def test_a_request_is_as_documented():
    with Alpaca([bar(OPEN)]) as alpaca:
        list(feed(alpaca, OPEN + 20 * MINUTE, data_feed="sip").candles("NASDAQ:AAPL", "15m", OPEN))
        query, headers = alpaca.queries[0], alpaca.asked[-1].headers
        assert [asked.path for asked in alpaca.asked[:2]] == ["/v2/assets/AAPL", "/v2/stocks/bars"]
    assert query["symbols"] == "AAPL"
    assert query["timeframe"] == "15Min"
    assert query["start"].startswith("2024-03-04T14:30:00")
    assert (query["feed"], query["adjustment"]) == ("sip", "split")
    assert (headers["apca-api-key-id"], headers["apca-api-secret-key"]) == ("key-1", "secret-1")


def test_a_gap_in_trading_hours_is_fetched_again_and_a_night_is_none():
    monday_close, tuesday = OPEN + 389 * MINUTE, OPEN + timedelta(days=1)
    bars = [bar(at) for at in (monday_close - MINUTE, monday_close, tuesday, tuesday + MINUTE)]
    with Alpaca(bars) as alpaca:
        live = feed(alpaca, tuesday + 2.1 * MINUTE)
        found = list(live.candles("AAPL", "1m", monday_close - MINUTE))
        assert len(alpaca.queries) == 1
        alpaca.script.append(Reply({"bars": {"AAPL": [bars[0], bars[3]]}, "next_page_token": None}))
        again = list(live.candles("AAPL", "1m", monday_close - MINUTE))
    assert found == again
    assert len(found) == 4


def test_extended_hours_do_not_count():
    early = [bar(OPEN - n * MINUTE) for n in range(1500, 0, -1)]
    with Alpaca([*early, bar(OPEN), bar(OPEN + MINUTE)]) as alpaca:
        found = list(feed(alpaca, OPEN + 2.1 * MINUTE).candles("AAPL", "1m", OPEN - 1500 * MINUTE))
        assert minutes_of(found) == [0, 1]
        alpaca.bars = [bar(OPEN - 90 * MINUTE), bar(OPEN - 30 * MINUTE)]
        hours = list(feed(alpaca, OPEN + 90 * MINUTE).candles("AAPL", "1h", OPEN - 90 * MINUTE))
    assert minutes_of(hours) == [-30]


def test_a_symbol_without_candles_is_quiet():
    with Alpaca([]) as alpaca:
        alpaca.script.extend([alpaca.asset("AAPL"), Reply({"bars": {}, "next_page_token": None})])
        assert list(feed(alpaca, OPEN + 5 * MINUTE).candles("AAPL", "1m", OPEN)) == []


def answered(*script: Reply, symbol: str = "AAPL") -> FeedError:
    with Alpaca([]) as alpaca:
        alpaca.script.extend(script)
        with pytest.raises(FeedError) as caught:
            list(feed(alpaca, OPEN + 9 * MINUTE).candles(symbol, "1m", OPEN))
    assert "\n" not in str(caught.value)
    assert "secret-1" not in str(caught.value)
    return caught.value


def test_a_wrong_key_is_said():
    error = answered(Reply({"message": "forbidden."}, 403))
    assert not isinstance(error, FeedOutage)
    assert "refuses ALPACA_API_KEY and ALPACA_SECRET_KEY (403: forbidden.)" in str(error)
    assert "ALPACA_ENVIRONMENT=live" in str(error)


def test_a_wrong_symbol_is_said():
    error = answered(symbol="AAPLL")
    assert not isinstance(error, FeedOutage)
    expected = "Alpaca has no stock AAPLL: asset not found for AAPLL: write it like AAPL or BRK.B"
    assert str(error) == expected


def test_data_that_is_not_subscribed_is_said():
    said = "subscription does not permit querying recent SIP data"
    error = answered(Alpaca.asset("AAPL"), Reply({"message": said}, 403))
    assert "ALPACA_DATA_FEED=iex" in str(error)


def test_a_rate_limit_is_not_tried_again_blindly():
    with Alpaca([]) as alpaca:
        limited = Reply({"message": "too many requests."}, 429, {"Retry-After": "11"})
        alpaca.script.extend([alpaca.asset("AAPL"), limited])
        with pytest.raises(FeedOutage) as caught:
            list(feed(alpaca, OPEN + 9 * MINUTE).candles("AAPL", "1m", OPEN))
        assert len(alpaca.asked) == 2
    assert caught.value.after == 11


def test_a_rate_limit_may_name_the_time_of_its_end():
    reset = str(int(datetime.now(UTC).timestamp()) + 30)
    error = answered(Reply({"message": "too many requests."}, 429, {"X-RateLimit-Reset": reset}))
    assert isinstance(error, FeedOutage)
    assert 20 < (error.after or 0) <= 30


@pytest.mark.parametrize(
    "script",
    [
        [Reply({"message": "internal"}, 500)],
        [Reply(b"<html>", 502)],
        [Reply(b"<html>a hotel's login page</html>")],
        [Reply(b"[" * 100_000, 502)],
        [Reply(b"[" * 100_000)],
        [Alpaca.asset("AAPL"), Reply(b"<html>")],
        [Alpaca.asset("AAPL"), Reply([])],
        *(
            [Alpaca.asset("AAPL"), Reply({"bars": {"AAPL": [{"t": time}]}, "next_page_token": None})]
            for time in ("yesterday", "0001-01-01T00:00:00+01:00")
        ),
        [Alpaca.asset("AAPL"), Reply({"bars": {"AAPL": [bar(OPEN, float("nan"))]}, "next_page_token": None})],
    ],
)
def test_what_may_pass_is_an_outage(script):
    assert isinstance(answered(*script), FeedOutage)


def test_nobody_there_is_an_outage_that_names_the_variable(free_port):
    nowhere = f"http://127.0.0.1:{free_port}"
    feed = AlpacaFeed("key-1", "secret-1", data_url=nowhere, trading_url=nowhere)
    with pytest.raises(FeedOutage, match=r"Alpaca cannot be reached \(Connection refused\).*ALPACA_TRADING"):
        list(feed.candles("AAPL", "1m", OPEN))


@pytest.mark.parametrize("timeframe", ["90m", "30s", "24h", "2d"])
def test_a_timeframe_that_alpaca_lacks_is_said(timeframe):
    with pytest.raises(FeedError, match=rf"no timeframe '{timeframe}': it has 1m to 59m"):
        AlpacaFeed("key-1", "secret-1").candles("AAPL", timeframe)


def test_the_environment_chooses_paper_or_live(monkeypatch, requested_host):
    with pytest.raises(FeedError, match="ALPACA_API_KEY and ALPACA_SECRET_KEY are not set"):
        open_feed("live", "stock", env.load())
    monkeypatch.setenv("ALPACA_API_KEY", "key-1")
    monkeypatch.setenv("ALPACA_SECRET_KEY", "secret-1")
    assert requested_host(open_feed("live", "stock", env.load()), "AAPL") == "paper-api.alpaca.markets"
    monkeypatch.setenv("ALPACA_ENVIRONMENT", "live")
    assert requested_host(open_feed("live", "stock", env.load()), "AAPL") == "api.alpaca.markets"
