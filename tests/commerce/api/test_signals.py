"""GET /api/v1/signals"""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aggregator import ledger
from aggregator.ledger import pager
from aggregator.ledger.entries import Entry
from aggregator.models import TradingSignal
from commerce.feed import cursors, pages
from tests.commerce.feed.reading import raw, reader, record

pytestmark = pytest.mark.django_db(transaction=True)


def test_pages_follow_one_another_in_the_order_of_recording():
    record(*"abcde")
    someone = reader()
    first = someone.page(limit=2)
    second = someone.page(limit=2, after=first["next"])
    third = someone.page(limit=2, after=second["next"])
    pages = [[signal["signal_id"] for signal in page["signals"]] for page in (first, second, third)]
    assert pages == [["a", "b"], ["c", "d"], ["e"]]
    assert [page["has_more"] for page in (first, second, third)] == [True, True, False]


def test_the_last_cursor_finds_what_is_recorded_later_and_nothing_twice():
    someone = reader()
    record("a")
    after = someone.page()["next"]
    assert someone.page(after=after)["signals"] == []
    record("b")
    assert someone.ids(after=after) == ["b"]


def test_a_signals_own_cursor_is_as_good_as_the_pages():
    record(*"abc")
    someone = reader()
    first = someone.page()["signals"][0]
    assert someone.ids(after=first["cursor"]) == ["b", "c"]


def test_a_row_that_is_not_recorded_yet_is_not_shown(db_row):
    db_row("raw")
    assert reader().ids() == []


@pytest.fixture
def db_row():
    def insert(signal_id):
        with connection.cursor() as cursor:
            cursor.execute(
                'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
                "VALUES (%s, 'crypto', now(), 'BTCUSDT', 'BUY')",
                [signal_id],
            )

    return insert


def test_prices_are_exact_texts():
    record("a", entry_price="64000.123456789012345678", stop_loss=63000, volume="0")
    signal = reader().page()["signals"][0]
    assert signal["entry_price"] == "64000.123456789012345678"
    assert signal["stop_loss"] == "63000"
    assert signal["volume"] == "0"
    assert signal["take_profit"] is None
    assert signal["refers_to"] is None


def test_prices_of_any_scale_are_exact_texts():
    largest = f"999999999999999999.{'9' * 40}"
    record(
        "a",
        entry_price=largest,
        stop_loss="1.1610000500000001e-05",
        take_profit="1e-40",
        action="close",
        refers_to="x",
    )
    signal = reader().page()["signals"][0]
    assert signal["entry_price"] == largest
    assert signal["stop_loss"] == "0.000011610000500000001"
    assert signal["take_profit"] == f"0.{'0' * 39}1"
    assert (signal["action"], signal["refers_to"]) == ("CLOSE", "x")


def test_raw_payload_is_for_plans_that_include_it():
    record("a", raw_payload={"rsi": 27})
    assert "raw_payload" not in reader().page()["signals"][0]
    assert reader(payload=True).page()["signals"][0]["raw_payload"] == {"rsi": 27}


@pytest.mark.parametrize("number", ["0.1234567890123456789", "9" * 400])
def test_numbers_of_a_raw_payload_stay_exact(number):
    written = raw("a", raw_payload={"x": "NUMBER"}).replace(b'"NUMBER"', number.encode())
    ledger.record([Entry(written)], "redis")
    answer = reader(payload=True).get("signals").content
    (signal,) = json.loads(answer, parse_float=Decimal, parse_int=Decimal)["signals"]
    assert signal["raw_payload"] == {"x": Decimal(number)}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"ecosystem": "forex"}, ["eur"]),
        ({"instrument": "BTC/USDT"}, ["btc", "sell"]),
        ({"action": "SELL"}, ["sell"]),
        ({"agent": "other bot"}, ["eth"]),
        ({"instrument": "BTC/USDT", "action": "SELL"}, ["sell"]),
        ({"instrument": "nothing"}, []),
        ({"instrument": "Volatility 75 Index"}, ["index", "exit"]),
        ({"instrument": "日経225"}, ["nikkei"]),
        ({"action": "CLOSE"}, ["exit"]),
        ({"refers_to": "index"}, ["exit"]),
        ({"refers_to": "btc"}, []),
    ],
)
def test_filters(query, found):
    record("btc")
    record("index", symbol="Volatility 75 Index")
    record("nikkei", ecosystem="stock", symbol="日経225")
    record("exit", symbol="Volatility 75 Index", action="CLOSE", refers_to="index")
    record("eur", ecosystem="forex", symbol="EURUSD")
    record("sell", action="SELL")
    record("eth", symbol="ETHUSDT", agent_source="other bot")
    assert reader().ids(limit=1, **query) == found


def test_since_goes_by_the_agents_timestamp():
    now = datetime.now(UTC)
    record("old", timestamp=(now - timedelta(hours=2)).isoformat())
    record("new", timestamp=(now - timedelta(minutes=1)).isoformat())
    someone = reader()
    assert someone.ids(since=(now - timedelta(hours=1)).isoformat()) == ["new"]
    assert someone.ids(since="0001-01-01T00:00:00Z") == ["old", "new"]
    assert someone.ids(since="9999-12-31T23:59:59Z") == []


def test_a_page_costs_the_same_queries_however_long_it_is():
    record(*(f"s{number}" for number in range(300)))
    someone = reader(requests_per_day=100, signals_per_day=10_000)

    def queries(limit):
        with CaptureQueriesContext(connection) as captured:
            assert len(someone.page(limit=limit)["signals"]) == limit
        return len(captured)

    # Some note the key's use, open the connection anew, or renew what is kept a while: so the least of five,
    # and of short pages also the most, since on a slow machine long ones renew it each time.
    short = [queries(2) for _ in range(5)]
    assert min(short) <= min(queries(300) for _ in range(5)) <= max(short)


def test_an_outage_is_a_503_and_over_when_it_is(postgres_server):
    someone = reader()
    postgres_server.stop()
    connection.close()
    response = someone.get("signals")
    assert response.status_code == 503
    assert int(response["Retry-After"]) > 0
    assert response["Content-Type"] == "application/problem+json"
    postgres_server.start()
    connection.close()
    record("after")
    assert someone.ids() == ["after"]


def test_a_filter_that_finds_nothing_moves_the_cursor_on(monkeypatch):
    monkeypatch.setattr(pager, "MAX_PASSED", 3)
    monkeypatch.setattr(pages, "PAGE_TIMEOUT_S", 0.0)
    record(*(f"s{number}" for number in range(20)))
    record("wanted", action="SELL")
    someone = reader()
    cursor, requests = cursors.encode(0), 0
    while True:
        page = someone.page(action="SELL", after=cursor, limit=2)
        requests += 1
        assert page["next"] != cursor
        cursor = page["next"]
        if page["signals"]:
            break
    assert page["signals"][0]["signal_id"] == "wanted"
    assert requests > 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("after", "x"),
        ("after", ""),
        ("after", "AQAAAAAAAAAAAAAAAA"),
        ("after", cursors.encode(5)[:-1] + "~"),
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "ten"),
        ("ecosystem", "bonds"),
        ("action", "buy"),
        ("since", "yesterday"),
        ("since", "0001-01-01T00:00:00+14:00"),
        ("instrument", "BTC  USDT"),
        ("instrument", "BTC\u200bUSDT"),
        ("refers_to", "a b"),
        ("refers_to", ""),
        ("agent", "a\0b"),
    ],
)
def test_a_bad_parameter_is_a_400_that_names_it(name, value):
    response = reader().get("signals", **{name: value})
    assert response.status_code == 400
    assert response["Content-Type"] == "application/problem+json"
    assert response.json()["errors"][0]["field"] == name


def test_a_cursor_ahead_of_the_ledger_is_gone():
    record("a")
    someone = reader()
    head = cursors.decode(someone.page()["next"])
    assert someone.page(after=cursors.encode(head))["signals"] == []
    answer = someone.get("signals", after=cursors.encode(head + 1))
    assert (answer.status_code, answer.json()["code"]) == (410, "cursor_ahead")


def test_an_etag_saves_a_page_that_has_not_changed():
    record("a")
    someone = reader(signals_per_day=10)
    first = someone.get("signals")
    again = someone.get("signals", headers={"If-None-Match": first["ETag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert '"signals";r=9' in again["RateLimit"]
    record("b")
    assert someone.get("signals", headers={"If-None-Match": f'"x", {first["ETag"]}'}).status_code == 200


def test_an_etag_changes_with_the_instrument_that_an_operator_maps():
    record("a")
    someone = reader()
    first = someone.get("signals")
    TradingSignal.objects.update(instrument="XBT/USD")
    again = someone.get("signals", headers={"If-None-Match": first["ETag"]})
    assert again.json()["signals"][0]["instrument"] == "XBT/USD"


def test_an_etag_is_the_customers_own():
    record("a")
    first, second = reader(), reader()
    tags = [each.get("signals")["ETag"] for each in (first, second)]
    assert tags[0] != tags[1]
    assert second.get("signals", headers={"If-None-Match": tags[0]}).status_code == 200


def test_only_get_is_taken():
    someone = reader()
    response = someone._client.post("/api/v1/signals", "{}", content_type="application/json")
    assert response.status_code == 405
    assert response["Allow"] == "GET, HEAD"


def test_head_has_the_headers_of_get_and_counts_no_signal():
    record("a")
    someone = reader(signals_per_day=1, requests_per_day=10)
    answers = [someone._client.head("/api/v1/signals") for _ in range(2)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"")] * 2
    assert answers[0]["ETag"] == someone.get("signals")["ETag"]


def test_a_thousand_and_one_parameters_are_a_400():
    response = reader()._client.get("/api/v1/signals?" + "&".join(f"p{n}=1" for n in range(1001)))
    assert response.status_code == 400
