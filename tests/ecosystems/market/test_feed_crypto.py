"""Candles through ccxt, from a local server that answers as Kraken and Binance document it."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime

import pytest

from ecosystems import env
from ecosystems.crypto.feed import CcxtFeed
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError, FeedOutage
from tests.ecosystems.bus.services import Asked, Reply, Service

START = datetime(2024, 3, 4, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PAIRS = {
    name: {
        "altname": name,
        "wsname": wsname,
        "aclass_base": "currency",
        "base": base,
        "quote": quote,
        "aclass_quote": "currency",
        "lot": "unit",
        "pair_decimals": 1,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.26]],
        "fees_maker": [[0, 0.16]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.0001",
        "costmin": "0.5",
        "tick_size": "0.1",
        "status": "online",
    }
    for name, wsname, base, quote in (
        ("XXBTZUSD", "XBT/USD", "XXBT", "ZUSD"),
        ("XETHZUSD", "ETH/USD", "XETH", "ZUSD"),
    )
}


def row(at: datetime, close: str = "62000.10000000001") -> list:
    return [int(at.timestamp()), "62000.0", "62100.0", "61900.0", close, "62010.0", "3.25000000", 42]


class Kraken(Service):
    """Kraken's public endpoints; it gives its newest 720 candles at most, the half-built one included."""

    def __init__(self, rows: list[list]) -> None:
        self.rows = rows
        super().__init__(self.answer)

    def answer(self, asked: Asked) -> Reply:
        if asked.path.endswith("/AssetPairs"):
            return Reply({"error": [], "result": PAIRS})
        if asked.path.endswith("/Assets"):
            return Reply({"error": [], "result": {}})
        found = [each for each in self.rows if each[0] > int(asked.query["since"])]
        return Reply({"error": [], "result": {"XXBTZUSD": found[-720:], "last": 0}})

    @property
    def queries(self) -> list[dict[str, str]]:
        return [asked.query for asked in self.asked if asked.path.endswith("/OHLC")]


def feed(service: Service, now: datetime) -> CcxtFeed:
    live = CcxtFeed("kraken", url=service.url, clock=lambda: now)
    live.exchange.rateLimit = 1  # the test's server has no limit
    return live


def minutes_of(candles) -> list[float]:
    return [(candle.timestamp - START) / MINUTE for candle in candles]


def test_closed_candles_come_once_and_the_half_built_one_never():
    with Kraken([row(START + n * MINUTE) for n in range(4)]) as kraken:
        live = feed(kraken, START + 3.5 * MINUTE)
        found = list(live.candles("BTC/USD", "1m", START))
        after = START + 2 * MINUTE + timedelta(microseconds=1)
        assert list(live.candles("BTC/USD", "1m", after)) == []
        later = list(feed(kraken, START + 4.1 * MINUTE).candles("BTC/USD", "1m", after))
    assert minutes_of(found) == [0, 1, 2]
    assert found[0].close == Decimal("62000.10000000001")
    assert found[0].volume == Decimal("3.25")
    assert minutes_of(later) == [3]


def test_a_clock_that_is_ahead_does_not_close_a_candle():
    rows, theirs = [row(START + n * MINUTE) for n in range(3)], START + 2.5 * MINUTE
    date = {"Date": format_datetime(theirs, usegmt=True)}
    with Kraken(rows) as kraken:
        live = feed(kraken, theirs + MINUTE)
        kraken.respond = lambda asked: Reply(kraken.answer(asked).body, 200, date)
        assert minutes_of(live.candles("BTC/USD", "1m", START)) == [0, 1]


def test_a_market_may_be_written_as_agents_write_it():
    with Kraken([row(START)]) as kraken:
        for written in ("KRAKEN:XBTUSD", "BTC-USD", "btcusd"):
            assert len(list(feed(kraken, START + 1.1 * MINUTE).candles(written, "1m", START))) == 1
        assert kraken.queries[0] == {"pair": "XXBTZUSD", "interval": "1", "since": str(row(START)[0] - 60)}


def test_a_gap_is_fetched_again():
    rows = [row(START + n * MINUTE) for n in range(6)]
    with Kraken(rows) as kraken:
        live = feed(kraken, START + 6.1 * MINUTE)
        list(live.candles("BTC/USD", "1m", START))
        kraken.script.append(Reply({"error": [], "result": {"XXBTZUSD": [*rows[:2], *rows[4:]], "last": 0}}))
        found = list(live.candles("BTC/USD", "1m", START))
    assert minutes_of(found) == [0, 1, 2, 3, 4, 5]


def test_minutes_without_a_trade_stay_out():
    rows = [row(START), row(START + 5 * MINUTE)]
    with Kraken(rows) as kraken:
        assert minutes_of(feed(kraken, START + 6.1 * MINUTE).candles("BTC/USD", "1m", START)) == [0, 5]


class Binance(Service):
    """Binance's klines: a thousand at most from `startTime` on."""

    def __init__(self, rows: list[list]) -> None:
        self.rows = rows
        super().__init__(self.answer)

    def answer(self, asked: Asked) -> Reply:
        if asked.path.endswith("/exchangeInfo"):
            market = {
                "symbol": "BTCUSDT",
                "status": "TRADING",
                "baseAsset": "BTC",
                "quoteAsset": "USDT",
                "baseAssetPrecision": 8,
                "quotePrecision": 8,
                "orderTypes": [],
                "filters": [],
                "isSpotTradingAllowed": True,
                "permissionSets": [["SPOT"]],
            }
            spot = asked.path.startswith("/api/")
            return Reply({"timezone": "UTC", "rateLimits": [], "symbols": [market] if spot else []})
        begin = int(asked.query["startTime"])
        return Reply([each for each in self.rows if each[0] >= begin][: int(asked.query["limit"])])


def kline(at: datetime) -> list:
    opened = int(at.timestamp() * 1000)
    prices = ["62000.01", "62100.0", "61900.0", "62010.5", "12.5"]
    return [opened, *prices, opened + 59_999, "775000.1", 100, "6.0", "372000.0", "0"]


def test_pages_follow_each_other_also_over_an_outage_of_the_exchange():
    minutes = [*range(1200), *range(4000, 4300)]
    with Binance([kline(START + n * MINUTE) for n in minutes]) as binance:
        live = CcxtFeed("binance", url=binance.url, clock=lambda: START + 4305 * MINUTE)
        live.exchange.rateLimit = 1
        found = list(live.candles("BTC/USDT", "1m", START))
    assert minutes_of(found) == minutes


def answered(*script: Reply, symbol: str = "BTC/USD") -> FeedError:
    with Kraken([]) as kraken:
        live = feed(kraken, START + 9 * MINUTE)
        live.exchange.load_markets()
        kraken.script.extend(script)
        with pytest.raises(FeedError) as caught:
            list(live.candles(symbol, "1m", START))
    assert "\n" not in str(caught.value)
    return caught.value


def test_a_wrong_symbol_is_said_with_likely_ones():
    error = answered(symbol="BTC/USX")
    assert not isinstance(error, FeedOutage)
    assert str(error) == "kraken has no market 'BTC/USX': try BTC/USD"


def test_a_rate_limit_says_how_long_to_wait():
    error = answered(Reply({"error": ["EAPI:Rate limit exceeded"]}, 429, {"Retry-After": "5"}))
    assert isinstance(error, FeedOutage)
    assert error.after == 5


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"error": ["EService:Unavailable"]}),
        Reply({"error": ["EGeneral:Too many requests"]}),
        Reply(b"<html>", 502),
        Reply(b"<html>a hotel's login page</html>"),
        Reply(b"[" * 100_000),
        Reply({"error": [], "result": {"XXBTZUSD": [[10**30, *row(START)[1:]]], "last": 0}}),
    ],
)
def test_what_may_pass_is_an_outage(reply):
    assert isinstance(answered(reply), FeedOutage)


@pytest.mark.parametrize("status", [401, 404, 502])
def test_a_password_in_the_address_is_in_no_error(status):
    with Kraken([]) as kraken:
        kraken.script.append(Reply(b"no", status))
        url = kraken.url.replace("://", "://agent:my-password@")
        with pytest.raises(FeedError, match=rf"kraken GET http://127\.0\.0\.1.* {status}") as caught:
            list(CcxtFeed("kraken", url=url).candles("BTC/USD", "1m"))
    assert "my-password" not in str(caught.value)


def test_nobody_there_is_an_outage_that_names_the_variable(free_port):
    feed = CcxtFeed("kraken", url=f"http://127.0.0.1:{free_port}")
    with pytest.raises(FeedOutage, match=r"kraken cannot be reached \(Connection refused\).*CCXT_URL"):
        list(feed.candles("BTC/USD", "1m", START))


def test_a_timeframe_that_the_exchange_lacks_is_said():
    with pytest.raises(FeedError, match="kraken has no timeframe '3m': it has 1m, 5m"):
        CcxtFeed("kraken").candles("BTC/USD", "3m")


def test_an_exchange_that_ccxt_lacks_is_said():
    with pytest.raises(FeedError, match="ccxt knows no exchange 'krakken': try kraken"):
        CcxtFeed("krakken")


def test_requests_keep_to_the_exchanges_rate():
    with Kraken([row(START)]) as kraken:
        live = CcxtFeed("kraken", url=kraken.url, clock=lambda: START + 2 * MINUTE)
        assert live.exchange.enableRateLimit
        assert live.exchange.rateLimit == 1000


def test_the_environment_and_the_option_choose_the_exchange(monkeypatch):
    monkeypatch.setenv("CCXT_EXCHANGE", "kraken")
    assert open_feed("live", "crypto", env.load()).name == "kraken"
    assert open_feed("live:okx", "crypto", env.load()).name == "okx"
    with pytest.raises(FeedError, match="only crypto has a choice of exchanges"):
        open_feed("live:okx", "forex", env.load())
    with pytest.raises(FeedError, match="invalid feed 'tape': it may be live, csv:PATH, synthetic"):
        open_feed("tape", "forex", env.load())
