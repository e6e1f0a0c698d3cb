"""The signal list on a ledger of any size: pages by key, search, filters, one signal's page."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from aggregator.admin import signals
from aggregator.ledger import bisection, pager
from aggregator.models import TradingSignal

LIST = "/admin/aggregator/tradingsignal/"


def ids(response):
    """The signal ids of a list page, in order."""
    assert response.status_code == 200
    return re.findall(r"field-signal_id[^>]*>\s*(?:<[^>]+>\s*)*([^<\s]+)", response.content.decode())


def link(response, word):
    found = re.search(rf'<a href="([^"]+)"[^>]*>{word}</a>', response.content.decode())
    return LIST + found[1].replace("&amp;", "&") if found else None


@pytest.fixture
def ledger(record):
    """120 signals in turn: crypto by momentum over redis, stock by value over the webhook."""
    for start in range(0, 120, 40):
        numbers = range(start, start + 40)
        record(*({"signal_id": f"c{n}"} for n in numbers if n % 2 == 0), transport="redis")
        record(
            *(
                {
                    "signal_id": f"s{n}",
                    "ecosystem": "stock",
                    "symbol": "NASDAQ:AAPL",
                    "action": "SELL",
                    "agent_source": "value",
                }
                for n in numbers
                if n % 2
            )
        )


@pytest.mark.usefixtures("ledger")
def test_pages_hold_everything_once_in_both_directions(page):
    first = page.get(LIST)
    second = page.get(link(first, "Older"))
    third = page.get(link(second, "Older"))
    seen = [ids(each) for each in (first, second, third)]
    assert [len(each) for each in seen] == [50, 50, 20]
    newest_first = TradingSignal.objects.order_by("-pk").values_list("signal_id", flat=True)
    assert [name for each in seen for name in each] == list(newest_first)
    assert link(third, "Older") is None
    assert link(first, "Newer") is None
    assert ids(page.get(link(third, "Newer"))) == seen[1]


@pytest.mark.usefixtures("ledger")
def test_no_page_counts_or_skips_rows(page):
    for query in ("", "?ecosystem=stock", "?q=value", "?agent=value&transport=webhook"):
        with CaptureQueriesContext(connection) as captured:
            page.get(LIST + query)
        asked = [each["sql"] for each in captured if "trading_signals" in each["sql"]]
        assert asked
        assert not [sql for sql in asked if "COUNT(" in sql.upper() or "OFFSET" in sql]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=AAPL", "s"),
        ("q=nasdaq:aapl", "s"),
        ("q=BTC", "c"),
        ("q=btc-usdt", "c"),
        ("q=momen", "c"),
        ("q=value&ecosystem=crypto", ""),
        ("ecosystem=stock", "s"),
        ("transport=redis", "c"),
        ("agent=value", "s"),
        ("agent=val", ""),
        ("action=BUY", "c"),
        ("action=SELL", "s"),
        ("action=CLOSE", ""),
    ],
)
def test_search_and_filters(page, query, expected):
    found = ids(page.get(f"{LIST}?{query}"))
    assert len(found) == (50 if expected else 0)
    assert {name[0] for name in found} == set(expected)


def test_a_clock_that_is_ahead_shows(page, record):
    record({"timestamp": (datetime.now(UTC) + timedelta(minutes=4, seconds=30)).isoformat()})
    assert "4 min ahead" in page.get(LIST).content.decode()


@pytest.mark.usefixtures("ledger")
def test_one_signal_is_found_by_its_ids(page):
    signal = TradingSignal.objects.get(signal_id="c42")
    for term in ("c42", signal.pk):
        assert "c42" in ids(page.get(LIST, {"q": term}))
    assert ids(page.get(LIST, {"q": "c42 "})) == ["c42"]


def test_time_bounds_are_exact(page, record):
    record(*({"signal_id": f"t{n}"} for n in range(30)))
    start = datetime(2026, 5, 1, tzinfo=UTC)
    for number, signal in enumerate(TradingSignal.objects.order_by("pk")):
        TradingSignal.objects.filter(pk=signal.pk).update(received_at=start + timedelta(hours=number))
    query = {
        "received_at_from_0": "2026-05-01", "received_at_from_1": "10:00:00",
        "received_at_to_0": "2026-05-01", "received_at_to_1": "12:00:00",
    }  # fmt: skip
    assert ids(page.get(LIST, query)) == ["t12", "t11", "t10"]
    assert len(ids(page.get(LIST, {"received_at_to_0": "2026-05-01"}))) == 24


def test_the_first_id_of_a_moment_is_found_by_bisection(record):
    record(*({} for _ in range(9)))
    start = datetime(2026, 5, 1, tzinfo=UTC)
    rows = list(TradingSignal.objects.order_by("pk"))
    for number, signal in enumerate(rows):
        TradingSignal.objects.filter(pk=signal.pk).update(received_at=start + timedelta(hours=number))
    for number, signal in enumerate(rows):
        assert bisection.first_id(start + timedelta(hours=number)) <= signal.pk
        assert bisection.first_id(start + timedelta(hours=number, seconds=1)) > signal.pk
    TradingSignal.objects.all().delete()
    assert bisection.first_id(start) == 1


@pytest.fixture
def short_walks(monkeypatch):
    """No page passes more than some thirty rows."""
    monkeypatch.setattr(pager, "MAX_PASSED", 30)
    monkeypatch.setattr(pager, "SEARCH_TIMEOUT_S", 0.0)
    monkeypatch.setattr(signals, "PER_PAGE", 5)


@pytest.mark.usefixtures("ledger", "short_walks")
@pytest.mark.parametrize(
    "query", ["transport=database", "q=value&transport=redis", "agent=value&ecosystem=crypto"]
)
def test_a_filter_that_matches_nothing_ends_and_says_how_far_it_searched(page, query):
    response = page.get(f"{LIST}?{query}")
    steps = 0
    while address := link(response, "Search further back"):
        assert ids(response) == []
        assert "No matches back to 20" in response.content.decode()
        response = page.get(address)
        steps += 1
    assert ids(response) == []
    assert 2 <= steps <= 30


@pytest.mark.usefixtures("ledger", "short_walks")
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("ecosystem=stock", {f"s{n}" for n in range(1, 120, 2)}),
        ("q=e&transport=redis", {f"c{n}" for n in range(0, 120, 2)}),
        ("q=e", {f"{'sc'[n % 2 == 0]}{n}" for n in range(120)}),
        ("q=c42&agent=momentum", {"c42"}),
    ],
)
def test_short_walks_lose_nothing_in_either_direction(page, query, expected):
    response = page.get(f"{LIST}?{query}")
    older, newer = ids(response), []
    while address := link(response, "Search further back") or link(response, "Older"):
        response = page.get(address)
        older += ids(response)
    assert sorted(older) == sorted(expected)
    last = ids(response)
    while address := link(response, "Newer"):
        response = page.get(address)
        newer = ids(response) + newer
    assert newer + last == older


def test_a_signals_page_shows_its_path_its_payload_and_the_signals_beside_it(page, record):
    same = {
        "signal_id": "it",
        "timestamp": datetime.now(UTC).isoformat(),
        "raw_payload": {"why": "<b>&cross"},
    }
    record({"signal_id": "before"})
    record(same, transport="redis", sender="stream:core_signals:signals")
    record(same, transport="webhook", sender="key:desk-1")
    record({"signal_id": "after", "agent_source": "other", "symbol": "ETHUSDT"})
    signal = TradingSignal.objects.get(signal_id="it")
    seen = page.get(f"{LIST}{signal.pk}/change/").content.decode()
    assert "&quot;why&quot;: &quot;&lt;b&gt;&amp;cross&quot;" in seen
    path = seen[seen.index("<h2>Path") : seen.index("<h2>Adjacent signals")]
    assert re.findall(r'label="Transport">([^<]+)', path) == ["—", "redis", "webhook"]
    assert "key:desk-1" in path
    assert "stream:core_signals:signals" in path
    assert "field-sender" in page.get(LIST).content.decode()
    assert "<h2>References" not in seen
    adjacent = seen[seen.index("<h2>Adjacent signals") :]
    before, after = (TradingSignal.objects.get(signal_id=name).pk for name in ("before", "after"))
    assert adjacent.count(f"{LIST}{before}/change/") == 3
    assert adjacent.count(f"{LIST}{after}/change/") == 1


def test_a_signals_page_shows_what_it_refers_to_and_what_refers_to_it(page, record):
    record({"signal_id": "call"}, {"signal_id": "exit", "action": "CLOSE", "refers_to": "call"})
    record({"signal_id": "stop", "refers_to": "call"}, {"signal_id": "lost", "refers_to": "nothing"})
    record({"signal_id": "theirs", "agent_source": "other", "action": "CLOSE", "refers_to": "call"})
    record({"signal_id": "same", "ecosystem": "stock", "symbol": "AAPL", "refers_to": "call"})
    keys = dict(TradingSignal.objects.values_list("signal_id", "pk"))

    def references(signal_id):
        seen = page.get(f"{LIST}{keys[signal_id]}/change/").content.decode()
        part = seen[seen.index("<h2>References") : seen.index("<h2>Adjacent")]
        links = [int(number) for number in re.findall(rf"{LIST}(\d+)/change/", part)]
        return [next(name for name, key in keys.items() if key == link) for link in links], part

    assert references("call")[0] == ["stop", "exit"]
    assert references("exit")[0] == ["call"]
    assert "No such signal is on record" in references("lost")[1]
    assert references("theirs")[0] == ["call"]
    assert "another agent" in references("theirs")[1]
    assert "No such signal is on record" in references("same")[1]
    assert "BUY market, amends" in page.get(LIST).content.decode()


def test_signals_are_read_only(page, stranger, record):
    record({"signal_id": "it"})
    signal = TradingSignal.objects.get(signal_id="it")
    assert page.post(f"{LIST}{signal.pk}/change/", {"action": "SELL"}).status_code == 403
    assert page.get(f"{LIST}add/").status_code == 403
    assert page.post(f"{LIST}{signal.pk}/delete/", {"post": "yes"}).status_code == 403
    assert stranger.get(LIST).status_code == 403


@pytest.mark.parametrize(
    "query",
    [
        "before=x",
        "after=-1",
        "before=99999999999999999999",
        "q=%00",
        "agent=%00",
        "received_at_from_0=0001-01-01",
        "received_at_to_0=9999-12-31",
    ],
)
def test_nonsense_in_the_address_is_no_error(page, record, query):
    record({})
    assert page.get(f"{LIST}?{query}").status_code in {200, 302}
