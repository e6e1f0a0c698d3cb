"""GET /api/v1/instruments and GET /api/v1/agents"""

from datetime import timedelta

import pytest

from commerce.feed import listing
from commerce.models import FeedSeries
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


def test_rolling_up_again_changes_nothing_and_in_batches_gives_the_same(market, monkeypatch):
    monkeypatch.setattr(listing, "BATCH", 1)
    listing.roll_up(2)
    assert FeedSeries.objects.count() == 1
    listing.roll_up(10)
    before = list(FeedSeries.objects.order_by("id").values())
    listing.roll_up(10)
    assert list(FeedSeries.objects.order_by("id").values()) == before
    assert len(before) == 3


def test_an_agent_of_whom_there_are_only_signs_of_life_is_not_listed(monkeypatch):
    monkeypatch.setattr(listing, "BATCH", 2)
    beat = {"action": "HOLD", "signal_type": "ANALYTICS", "tags": ["heartbeat"]}
    record("b1", "b2", "b3", agent_source="quiet", **beat)
    record("1", agent_source="loud")
    record("b4", agent_source="loud", **beat)
    listing.roll_up(2)
    listing.roll_up(2)
    assert everything(reader(), "agents") == [("crypto", "loud")]
    assert FeedSeries.objects.get().first_position == FeedSeries.objects.get().last_position


@pytest.mark.parametrize("query", [{"after": "bonds/x"}, {"after": "x"}, {"limit": 0}, {"ecosystem": "x"}])
def test_a_bad_parameter_is_a_400(query):
    assert reader().get("instruments", **query).status_code == 400
