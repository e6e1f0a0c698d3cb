"""What the admin shows of calls: an agent's record with its calls, and each signal's outcome."""

import json
import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from aggregator.models import Agent, Outcome, TradingSignal
from aggregator.track_record.equity_chart import equity_chart
from tests.aggregator.track_record.recording import (
    MINUTE,
    T0,
    call,
    candle_rows,
    events,
    insert,
    put,
    score,
    signal,
)

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"entry_price": 100, "stop_loss": 98, "take_profit": 104}


def agent_page(client, **query):
    now = timezone.now()
    agent, _ = Agent.objects.get_or_create(
        ecosystem="crypto",
        agent_source="bot",
        defaults={"first_seen": now, "last_seen": now, "last_transport": "webhook"},
    )
    answer = client.get(f"/admin/aggregator/agent/{agent.pk}/change/", query)
    assert answer.status_code == 200
    return answer.content.decode()


def signal_page(client, signal_id):
    found = TradingSignal.objects.get(signal_id=signal_id)
    answer = client.get(f"/admin/aggregator/tradingsignal/{found.pk}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


def drawing(page):
    """Return what the script gets to draw; None where nothing is drawn."""
    found = re.search(r'<script id="hub-candles-data" type="application/json">(.*?)</script>', page)
    return json.loads(found.group(1)) if found else None


def calls_on(page):
    return re.findall(r"(?:BUY|SELL) market <bdi>([^<]+)</bdi></a>", page)


def test_an_agents_page_has_its_figures_its_equity_and_its_calls(page):
    assert "No calls yet." in agent_page(page)
    call(**LONG)
    call(symbol="ETH/USDT", tags=[])
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    score()
    real = agent_page(page)
    assert calls_on(real) == ["ETH/USDT"], "simulated calls are kept apart"
    assert "The equity is drawn from the second day on." in real
    simulated = agent_page(page, simulated=1)
    assert calls_on(simulated) == ["BTC/USDT"]
    assert "Closed, target" in simulated
    assert "+1.32" in simulated
    assert calls_on(agent_page(page, simulated=1, state="open")) == []
    assert calls_on(agent_page(page, simulated="x", state="'", before="9" * 30, after="-1")) == ["ETH/USDT"]


@pytest.mark.parametrize("cadence", ["0", "-1:00:00", "soon"])
def test_a_cadence_is_longer_than_nothing(page, cadence):
    agent_page(page)
    agent = Agent.objects.get()
    answer = page.post(f"/admin/aggregator/agent/{agent.pk}/change/", {"expected_cadence": cadence})
    assert answer.status_code == 200
    agent.refresh_from_db()
    assert agent.expected_cadence is None


def test_the_equity_of_several_days_is_drawn_with_its_drawdown(page):
    call(**LONG)
    insert(candle_rows("100.5/101/100/101 · 101/101.5/100.5/101"))
    insert(candle_rows("101/101/100/100.5", T0 + timedelta(days=3)))
    score()
    shown = agent_page(page)
    assert 'aria-label="Equity in R from 5 January 2026 to 8 January 2026' in shown
    assert 'aria-label="Drawdown in R, at its deepest' in shown


def test_a_long_equity_keeps_its_extremes_in_a_bounded_drawing():
    days = [(T0.date() + timedelta(days=n), Decimal(n % 7)) for n in range(20_000)]
    days[12_345] = (days[12_345][0], Decimal(-50))
    chart = equity_chart(days)
    assert len(chart["points"].split()) < 700
    assert (chart["low"], chart["deepest"]) == (-50, 56)
    assert f",{160:.1f}" in chart["points"]


def test_calls_are_paged_and_a_page_costs_the_same_number_of_queries(page, django_assert_max_num_queries):
    times = [T0 + number * MINUTE for number in range(120)]
    put(*(signal(timestamp=at) for at in times))
    score()
    seen, query = [], {}
    for expected in (50, 50, 20):
        with django_assert_max_num_queries(30):
            shown = agent_page(page, **query)
        found = re.findall(r'<td data-label="t0 \(UTC\)">([^<]+)</td>', shown)
        assert len(found) == expected
        seen += found
        older = re.search(r'href="\?simulated=1&amp;before=(\d+)#calls"', shown)
        query = {"before": older.group(1)} if older else {}
    assert not query
    assert seen == [f"{at:%Y-%m-%d %H:%M:%S}" for at in reversed(times)]
    newer = re.search(r'href="\?simulated=1&amp;after=(\d+)#calls"', shown).group(1)
    shown = agent_page(page, after=newer)
    assert all(at in shown for at in seen[50:100])


def test_a_call_that_was_deleted_leaves_its_outcome_in_the_list(page):
    call()
    score()
    TradingSignal.objects.all().delete()
    assert "Deleted signal at position" in agent_page(page)


def test_a_closed_call_is_shown_in_words_and_drawn_with_its_prices(page):
    amended = T0 + MINUTE
    signal_id = call(**LONG)
    call(refers_to=signal_id, take_profit=102, timestamp=amended)
    insert(candle_rows("100.5/103/100/101 · 101/102.5/101/102"))
    score()
    shown = signal_page(page, signal_id)
    assert "Closed by its target: entered at 100.5 on 2026-01-05 12:01:00, left at 102 on" in shown
    assert "104, 102 from 2026-01-05 12:01:30" in shown
    assert "Simulated." in shown
    drawn = drawing(shown)
    assert drawn["bars"] == [
        [1767614460, 100.5, 103, 100, 101],
        [1767614520, 101, 102.5, 101, 102],
    ]
    assert [price for _, price in drawn["lines"]["target"]] == [104, 102]
    assert {name: points[0][1] for name, points in drawn["lines"].items()} == {
        "claimed": 100, "entry": 100.5, "stop": 98, "target": 104,
    }  # fmt: skip
    assert drawn["markers"] == [[1767614460, "entry", "entry"], [1767614520, "exit", "target"]]
    assert len(events(signal_id)) == shown.count('data-label="Because of"')


@pytest.mark.parametrize(
    ("fields", "candles", "words", "is_drawn"),
    [
        ({"tags": []}, "", "Waiting for its fill.", False),
        ({"signal_type": "LIMIT", "entry_price": 90}, "100/101/99/100", "Waiting for its fill.", True),
        (
            {"timestamp": T0 + 5 * MINUTE, "stop_loss": 98, "tags": ["replay"]},
            "100/101/99/100",
            "Unpriced:",
            True,
        ),
        ({"entry_price": 100}, "100.5/101/100/101", "Open since", True),
        (LONG, "97.5/99/97/98", "Missed:", True),
        ({}, "", "Unpriced:", False),
    ],
)
def test_every_state_has_its_words(page, fields, candles, words, is_drawn):
    signal_id = call(**fields)
    if candles:
        insert(candle_rows(candles))
    score()
    shown = signal_page(page, signal_id)
    assert words in shown
    drawn = drawing(shown)
    assert (drawn is not None) == is_drawn
    if drawn and "stop_loss" in fields:
        assert len(drawn["lines"]["stop"]) == 2, "also where no candle has come since"


def test_what_is_no_call_or_not_scored_yet_says_so(page):
    hold, close = put(signal(action="HOLD"), signal(action="CLOSE"))
    assert "<h2>Outcome</h2>" not in signal_page(page, hold) + signal_page(page, close)
    assert "This call is not scored yet" in signal_page(page, call())


def test_a_long_call_is_drawn_in_a_bounded_number_of_bars_with_its_extremes(page):
    signal_id = call(stop_loss=50)
    start = T0 + timedelta(seconds=30)
    rows = [(start + number * MINUTE, 100, 101, 99, 100) for number in range(10 * 1440)]
    rows[10_000] = (rows[10_000][0], 100, 117, 99, 100)
    insert(rows)
    score()
    drawn = drawing(signal_page(page, signal_id))
    assert 100 < len(drawn["bars"]) < 320
    assert max(bar[2] for bar in drawn["bars"]) == 117
    assert drawn["bars"][0][:2] == [int(start.timestamp()), 100]
    assert Outcome.objects.get().state in {"open", "closed"}
