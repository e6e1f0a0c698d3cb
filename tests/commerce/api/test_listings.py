"""GET /api/v1/instruments and GET /api/v1/agents"""

from datetime import timedelta

import pytest
from django.db.models import F

from aggregator.arrivals.rollups import RollupFollower
from aggregator.models import TradingSignal
from aggregator.track_record.scorer import Scorer
from commerce.feed import listing
from tests.commerce.feed.reading import pass_time, reader, record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def market():
    record("1", "2", agent_source="b")
    record("3", symbol="ETHUSDT", agent_source="a/1")
    record("4", ecosystem="forex", symbol="EURUSD", agent_source="")


def everything(someone, path, **query):
    found, after = [], None
    while True:
        page = someone.get(path, **query, **({"after": after} if after else {})).json()
        found += [tuple(entry.values()) for entry in page[path]]
        after = page["next"]
        if after is None:
            return found


def test_each_instrument_once(market):
    expected = [("crypto", "BTC/USDT"), ("crypto", "ETH/USDT"), ("forex", "EUR/USD")]
    assert everything(reader(), "instruments") == expected
    assert everything(reader(), "instruments", limit=1) == expected
    assert everything(reader(), "instruments", ecosystem="forex") == expected[2:]


def test_each_agent_once(market):
    expected = [("crypto", "a/1"), ("crypto", "b"), ("forex", "")]
    assert everything(reader(), "agents") == expected
    assert everything(reader(), "agents", limit=1) == expected


def test_only_what_the_plan_shows(market):
    assert everything(reader(ecosystems=["forex"]), "instruments") == [("forex", "EUR/USD")]
    assert everything(reader(instruments=["ETH/*"]), "agents") == [("crypto", "a/1")]
    assert everything(reader(delay=timedelta(minutes=5)), "instruments") == []


def test_a_delayed_plan_learns_of_an_instrument_with_its_first_signal():
    someone = reader(delay=timedelta(minutes=5))
    record("1")
    pass_time(timedelta(minutes=6))
    record("2", symbol="ETHUSDT")
    assert everything(someone, "instruments") == [("crypto", "BTC/USDT")]


def test_what_is_older_than_the_history_is_gone():
    record("1")
    pass_time(timedelta(days=8))
    record("2", symbol="ETHUSDT")
    assert everything(reader(history_days=7), "instruments") == [("crypto", "ETH/USDT")]


HEARTBEAT = {"action": "HOLD", "signal_type": "ANALYTICS", "tags": ["heartbeat"]}


def test_an_agent_with_nothing_but_heartbeats_is_not_listed():
    record("b1", "b2", "b3", agent_source="quiet", **HEARTBEAT)
    record("1", agent_source="loud")
    record("b4", agent_source="loud", **HEARTBEAT)
    assert everything(reader(), "agents") == [("crypto", "loud")]


def test_an_agent_is_listed_however_many_heartbeats_followed_its_signal():
    record("1", agent_source="slow")
    record(*(f"b{number}" for number in range(2 * listing.MAX_RECENT)), agent_source="slow", **HEARTBEAT)
    assert everything(reader(), "agents") == [("crypto", "slow")]


def test_a_name_that_two_ecosystems_share_is_listed_in_both():
    record("1", ecosystem="stock", symbol="AAPL", agent_source="")
    record(*(f"c{number}" for number in range(listing.MAX_RECENT // 2)), agent_source="")
    assert everything(reader(), "agents") == [("crypto", ""), ("stock", "")]
    assert everything(reader(ecosystems=["stock"]), "agents") == [("stock", "")]


def test_what_two_ecosystems_share_is_listed_in_both_however_much_came_in_one_since():
    record("1", ecosystem="forex", symbol="BTC/USD")
    record(*(f"c{number}" for number in range(2 * listing.MAX_RECENT)), symbol="BTC/USD")
    for follower in (RollupFollower(), Scorer()):
        while follower.run_once():
            pass
    assert everything(reader(), "agents") == [("crypto", "bot-1"), ("forex", "bot-1")]
    assert everything(reader(), "instruments") == [("crypto", "BTC/USD"), ("forex", "BTC/USD")]


def test_what_an_operator_renames_is_listed_by_its_new_name():
    record("1", "2")
    TradingSignal.objects.update(instrument="BTC/USD")
    assert everything(reader(), "instruments") == [("crypto", "BTC/USD")]


def test_a_signal_that_waited_to_be_recorded_is_listed():
    record("1")
    pass_time(timedelta(minutes=2))
    TradingSignal.objects.update(received_at=F("received_at") - timedelta(hours=2))
    assert everything(reader(delay=timedelta(minutes=1), history_days=1), "agents") == [("crypto", "bot-1")]


def test_a_page_that_takes_too_long_ends_early_and_the_next_goes_on(market, monkeypatch):
    monkeypatch.setattr(listing, "LISTING_TIMEOUT_S", 0.0)
    someone = reader()
    assert len(someone.get("instruments").json()["instruments"]) == 1
    assert len(everything(someone, "instruments")) == 3
    assert everything(someone, "agents") == [("crypto", "a/1"), ("crypto", "b"), ("forex", "")]


@pytest.mark.parametrize("query", [{"after": "bonds/x"}, {"after": "x"}, {"limit": 0}, {"ecosystem": "x"}])
def test_a_bad_parameter_is_a_400(query):
    assert reader().get("instruments", **query).status_code == 400
