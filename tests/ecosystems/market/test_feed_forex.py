"""OANDA's candles, from a local server that answers as its v20 REST API documents."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ecosystems import env
from ecosystems.forex.feed import OandaFeed
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError, FeedOutage
from tests.ecosystems.bus.services import Asked, Reply, Service

MONDAY = datetime(2024, 3, 4, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def stick(at: datetime, close: str = "1.08510", *, complete: bool = True) -> dict:
    mid = {"o": "1.08500", "h": "1.08600", "l": "1.08400", "c": close}
    # OANDA gives nanoseconds.
    return {
        "complete": complete,
        "volume": 120,
        "time": at.strftime("%Y-%m-%dT%H:%M:%S.000000000Z"),
        "mid": mid,
    }


class Oanda(Service):
    """An account's candles; `page` caps an answer below what is asked for."""

    def __init__(self, sticks: list[dict], page: int = 5000) -> None:
        self.sticks = sticks
        self.page = page
        super().__init__(self.candles)

    def candles(self, asked: Asked) -> Reply:
        begin = asked.query["from"].replace("Z", "000Z")
        # `includeFirst` is on by default: the candle that covers `from` comes first.
        covering = max((s["time"] for s in self.sticks if s["time"] <= begin), default=begin)
        count = min(int(asked.query["count"]), self.page)
        found = [s for s in self.sticks if s["time"] >= covering][:count]
        return Reply({"instrument": "EUR_USD", "granularity": "H1", "candles": found})


def feed(service: Service, now: datetime) -> OandaFeed:
    return OandaFeed("token-1", url=service.url, clock=lambda: now)


def hours_of(candles) -> list[float]:
    return [(candle.timestamp - MONDAY) / HOUR for candle in candles]


def test_closed_candles_come_once_and_the_half_built_one_never():
    sticks = [stick(MONDAY + n * HOUR) for n in range(5)] + [stick(MONDAY + 5 * HOUR, complete=False)]
    now = MONDAY + 5.5 * HOUR
    with Oanda(sticks) as oanda:
        found = list(feed(oanda, now).candles("EUR_USD", "1h", MONDAY))
        following = MONDAY + 4 * HOUR + timedelta(microseconds=1)
        assert list(feed(oanda, now).candles("EUR_USD", "1h", following)) == []
        oanda.sticks[5] = stick(MONDAY + 5 * HOUR, "1.08700")
        later = list(feed(oanda, now + HOUR).candles("EUR_USD", "1h", following))
    assert hours_of(found) == [0, 1, 2, 3, 4]
    assert found[0].close == Decimal("1.08510")
    assert found[0].volume == 120
    assert [(c.timestamp, c.close) for c in later] == [(MONDAY + 5 * HOUR, Decimal("1.08700"))]


def test_a_candle_that_calls_itself_complete_too_early_waits_for_its_end():
    # A day of OANDA's is an hour short when New York's clocks go forward.
    with Oanda([stick(MONDAY)]) as oanda:
        assert list(feed(oanda, MONDAY + 0.9 * HOUR).candles("EUR_USD", "1h", MONDAY)) == []
        assert len(list(feed(oanda, MONDAY + 1.1 * HOUR).candles("EUR_USD", "1h", MONDAY))) == 1


def test_pages_follow_each_other():
    sticks = [stick(MONDAY + n * HOUR) for n in range(50)]
    with Oanda(sticks, page=7) as oanda:
        found = list(feed(oanda, MONDAY + 60 * HOUR).candles("EUR_USD", "1h", MONDAY))
    assert hours_of(found) == list(range(50))
    assert len(oanda.asked) >= 8


def test_a_request_is_as_documented():
    with Oanda([stick(MONDAY)]) as oanda:
        list(feed(oanda, MONDAY + 2 * HOUR).candles("OANDA:EURUSD", "1h", MONDAY))
        asked = oanda.asked[0]
    assert asked.path == "/v3/instruments/EUR_USD/candles"
    assert asked.query == {
        "price": "M",
        "granularity": "H1",
        "from": "2024-03-04T00:00:00.000000Z",
        "count": "1000",
    }
    assert asked.headers["authorization"] == "Bearer token-1"
    assert asked.headers["accept-datetime-format"] == "RFC3339"


def test_a_gap_in_trading_hours_is_fetched_again():
    sticks = [stick(MONDAY + n * HOUR) for n in range(6)]
    with Oanda(sticks) as oanda:
        oanda.script.append(Reply({"candles": [sticks[0], sticks[1], sticks[4], sticks[5]]}))
        found = list(feed(oanda, MONDAY + 6.1 * HOUR).candles("EUR_USD", "1h", MONDAY))
    assert hours_of(found) == [0, 1, 2, 3, 4, 5]
    assert oanda.asked[1].query["from"] == "2024-03-04T02:00:00.000000Z"


def test_a_first_candle_that_is_missing_is_a_gap_too():
    sticks = [stick(MONDAY + n * HOUR) for n in range(3)]
    with Oanda(sticks) as oanda:
        oanda.script.append(Reply({"candles": [sticks[2]]}))
        since = MONDAY + timedelta(microseconds=1)
        found = list(feed(oanda, MONDAY + 3.1 * HOUR).candles("EUR_USD", "1h", since))
    assert hours_of(found) == [1, 2]


def test_a_weekend_is_no_gap():
    friday, sunday = datetime(2024, 3, 8, 21, tzinfo=UTC), datetime(2024, 3, 10, 21, tzinfo=UTC)
    with Oanda([stick(friday), stick(sunday)]) as oanda:
        found = list(feed(oanda, sunday + 1.1 * HOUR).candles("EUR_USD", "1h", friday))
    assert [c.timestamp for c in found] == [friday, sunday]
    assert len(oanda.asked) == 1


def test_without_a_start_it_goes_some_way_back():
    now = MONDAY + 4 * HOUR
    with Oanda([stick(MONDAY - 100 * HOUR), stick(MONDAY)]) as oanda:
        assert hours_of(feed(oanda, now).candles("EUR_USD", "1h")) == [-100, 0]
        assert oanda.asked[0].query["from"] < "2024-02-15"


def answered(reply: Reply) -> FeedError:
    with Oanda([]) as oanda:
        oanda.script.append(reply)
        live = feed(oanda, MONDAY + 9 * HOUR)
        with pytest.raises(FeedError) as caught:
            list(live.candles("EUR_USX", "1h", MONDAY))
    assert "\n" not in str(caught.value)
    assert "token-1" not in str(caught.value)
    return caught.value


def test_a_wrong_token_is_said():
    error = answered(Reply({"errorMessage": "Insufficient authorization to perform request."}, 401))
    assert not isinstance(error, FeedOutage)
    assert "refuses OANDA_TOKEN (401: Insufficient authorization" in str(error)
    assert "OANDA_ENVIRONMENT=live" in str(error)


def test_a_wrong_symbol_is_said():
    error = answered(Reply({"errorMessage": "Invalid value specified for 'instrument'"}, 400))
    assert not isinstance(error, FeedOutage)
    assert str(error).startswith("OANDA has no instrument EUR_USX")
    assert str(error).endswith("write it like EUR_USD")


def test_a_rate_limit_says_how_long_to_wait():
    limited = Reply({"errorMessage": "Rate limit"}, 429, {"Retry-After": "7"})
    error = answered(limited)
    assert isinstance(error, FeedOutage)
    assert error.after == 7


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"errorMessage": "down"}, 503),
        Reply(b"<html>", 502),
        Reply(b"<html>a hotel's login page</html>"),
        Reply(b"[" * 100_000, 502),
        Reply(b'{"candles":[],"more":' + b"[" * 100_000),
        Reply({"candles": [stick(MONDAY) | {"time": "yesterday"}]}),
        Reply({"candles": [stick(MONDAY) | {"time": "0001-01-01T00:00:00+01:00"}]}),
        Reply({"candles": [stick(MONDAY, "n/a")]}),
    ],
)
def test_what_may_pass_is_an_outage(reply):
    assert isinstance(answered(reply), FeedOutage)


def test_a_redirect_does_not_carry_the_token_away():
    error = answered(Reply(b"", 302, {"Location": "https://example.com/"}))
    assert "302" in str(error)
    assert "OANDA_URL" in str(error)


def test_nobody_there_is_an_outage_that_names_the_variable(free_port):
    feed = OandaFeed("token-1", url=f"http://127.0.0.1:{free_port}", clock=lambda: MONDAY + 9 * HOUR)
    with pytest.raises(FeedOutage, match=r"OANDA cannot be reached \(Connection refused\).*OANDA_URL"):
        list(feed.candles("EUR_USD", "1h", MONDAY))


@pytest.mark.parametrize("timeframe", ["3m", "2d", "7h"])
def test_a_timeframe_that_oanda_lacks_is_said(timeframe):
    with pytest.raises(FeedError, match=rf"no timeframe '{timeframe}': it has 5s, 10s"):
        OandaFeed("token-1").candles("EUR_USD", timeframe)


def test_the_environment_chooses_practice_or_live(monkeypatch, requested_host):
    monkeypatch.setenv("OANDA_TOKEN", "token-1")
    practice = open_feed("live", "forex", env.load())
    assert requested_host(practice, "EUR_USD") == "api-fxpractice.oanda.com"
    monkeypatch.setenv("OANDA_ENVIRONMENT", "Live")
    assert requested_host(open_feed("live", "forex", env.load()), "EUR_USD") == "api-fxtrade.oanda.com"
    monkeypatch.delenv("OANDA_TOKEN")
    with pytest.raises(FeedError, match="OANDA_TOKEN is not set"):
        open_feed("live", "forex", env.load())
