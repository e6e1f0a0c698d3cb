"""What a plan shows is the same over every API: one query for all."""

from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from aggregator.ledger import inserted_rows
from aggregator.models import ApiKey
from commerce.models import Subscription
from tests.commerce.feed.reading import Reader, customer, grant, pass_time, reader, record

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def market():
    record("btc", "btc2")
    record("perp", symbol="BTC/USDT:USDT")
    record("eth", symbol="ETHUSDT")
    record("odd", symbol="B_C%X.Y")
    record("eur", ecosystem="forex", symbol="EURUSD")
    record("aapl", ecosystem="stock", symbol="AAPL")


ALL = ["btc", "btc2", "perp", "eth", "odd", "eur", "aapl"]


@pytest.mark.parametrize(
    ("plan", "shown"),
    [
        ({}, ALL),
        ({"ecosystems": ["forex", "stock"]}, ["eur", "aapl"]),
        ({"instruments": ["BTC/*"]}, ["btc", "btc2", "perp"]),
        ({"instruments": ["BTC/USDT"]}, ["btc", "btc2"]),
        ({"instruments": ["?TH/USD?", "AAPL"]}, ["eth", "aapl"]),
        ({"instruments": ["B_C%X.Y"]}, ["odd"]),
        ({"instruments": ["B?C%X.*"]}, ["odd"]),
        ({"instruments": ["B.C*", "(", "[A-Z]*", "AAPL|EUR?"]}, []),
        ({"instruments": ["*"], "ecosystems": ["crypto"]}, ALL[:5]),
    ],
)
def test_a_plan_shows_its_ecosystems_and_instruments(market, plan, shown):
    assert reader(**plan).ids() == shown


def test_a_key_may_be_narrower_than_the_plan(market):
    given = grant(ecosystems=["crypto", "forex"])
    ApiKey.objects.filter(pk=given.key.pk).update(ecosystems=["forex", "stock"])
    assert Reader(given.value).ids() == ["eur"]
    ApiKey.objects.filter(pk=given.key.pk).update(ecosystems=["stock"])
    assert Reader(given.value).ids() == []


def test_a_delayed_plan_shows_a_prefix():
    someone = reader(delay=timedelta(minutes=15))
    record("old", "old2")
    pass_time(timedelta(minutes=16))
    record("new")
    assert someone.ids() == ["old", "old2"]
    cursor = someone.page()["next"]
    pass_time(timedelta(minutes=16))
    assert someone.ids(after=cursor) == ["new"]


def test_a_delay_counts_from_the_recording_and_not_from_the_insert():
    """An agent's row that was inserted long ago and is recorded now is as fresh as any."""
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, received_at) '
            "VALUES ('slow', 'crypto', now(), 'BTCUSDT', 'BUY', now() - interval '1 hour')"
        )
    someone = reader(delay=timedelta(minutes=15))
    record("before")
    pass_time(timedelta(minutes=16))
    inserted_rows.record_inserted_rows(10)
    assert someone.ids() == ["before"]
    pass_time(timedelta(minutes=16))
    assert someone.ids() == ["before", "slow"]


@pytest.mark.parametrize("days", [999_999, 2_000_000_000])
def test_a_history_may_be_longer_than_the_calendar(days):
    record("a")
    someone = reader(history_days=days)
    assert someone.ids() == ["a"]
    for path in ("agents", "instruments", "outcomes", "me"):
        assert someone.get(path).status_code == 200


def test_history_ends_where_the_plan_says():
    someone = reader(history_days=7)
    record("ancient")
    pass_time(timedelta(days=8))
    record("recent")
    pass_time(timedelta(days=6))
    assert someone.ids() == ["recent"]


@pytest.mark.parametrize(
    ("state", "fields", "live"),
    [
        ("trialing", {}, True),
        ("active", {"ends_at": timedelta(days=1)}, True),
        ("active", {"ends_at": -timedelta(seconds=1)}, False),
        ("past_due", {}, False),
        ("past_due", {"grace_until": timedelta(days=1)}, True),
        ("past_due", {"grace_until": -timedelta(seconds=1)}, False),
        ("cancelled", {}, False),
        ("expired", {}, False),
    ],
)
def test_which_subscriptions_are_live(state, fields, live):
    someone = customer()
    times = {name: timezone.now() + distance for name, distance in fields.items()}
    Subscription.objects.filter(customer=someone).update(state=state, **times)
    response = Reader(someone.issue_key("k").value).get("signals")
    assert response.status_code == (200 if live else 403)
    assert (someone.subscription() is not None) == live
