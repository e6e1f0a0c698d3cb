"""`GET /api/v1/outcomes` and `GET /api/v1/agents/<ecosystem>/<agent>/record`."""

from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection

from commerce.feed import cursors, outcome_pages
from commerce.models import Plan, UsageDay
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, outcome, score
from tests.commerce.feed.reading import pass_time, reader

pytestmark = pytest.mark.django_db(transaction=True)

LONG = {"entry_price": 100, "stop_loss": 98, "take_profit": 104, "tags": ["replay"]}


def decide():
    """Two decided calls and one that waits."""
    won = call(agent_source="a/b", **LONG)
    lost = call(agent_source="a/b", symbol="ETH/USDT", **LONG)
    waiting = call(agent_source="other", tags=[])
    insert(candle_rows("100.5/101/100/101 · 101/104.5/101/104"))
    insert(candle_rows("100.5/105/97/99"), instrument="ETH/USDT")
    score()
    return won, lost, waiting


def included():
    """Return a plan's fields that include simulated signals, where plans leave them out."""
    names = {field.name for field in Plan._meta.get_fields()}
    return {name: True for name in ("simulated", "include_simulated") if name in names}


def test_outcomes_are_read_in_the_order_of_their_calls():
    won, lost, waiting = decide()
    client = reader(**included())
    page = client.get("outcomes", limit=2).json()
    assert [each["signal_id"] for each in page["outcomes"]] == [won, lost]
    assert page["has_more"]
    first, second = page["outcomes"]
    assert (first["state"], first["exit_reason"], first["exit_price"]) == ("closed", "target", "104")
    assert first["r_multiple"] == "1.3182"
    assert second["ambiguous"]
    rest = client.get("outcomes", after=page["next"]).json()
    assert [each["signal_id"] for each in rest["outcomes"]] == [waiting]
    assert not rest["has_more"]
    again = client.get("outcomes", after=rest["next"]).json()
    assert again["outcomes"] == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"agent": "a/b"}, 2),
        ({"instrument": "ETH/USDT"}, 1),
        ({"state": "waiting"}, 1),
        ({"state": "unfilled"}, 0),
        ({"ecosystem": "stock"}, 0),
    ],
)
def test_outcomes_are_filtered(query, count):
    decide()
    found = reader(**included()).get("outcomes", **query).json()
    assert len(found["outcomes"]) == count


def test_a_state_that_does_not_exist_is_refused():
    assert reader().get("outcomes", state="profitable").status_code == 400


def test_a_plan_shows_its_instruments_only_and_counts_what_it_shows():
    won, *_ = decide()
    client = reader(instruments=["BTC/*"], signals_per_day=2, **included())
    page = client.get("outcomes", limit=1).json()
    assert [each["signal_id"] for each in page["outcomes"]] == [won]
    assert UsageDay.objects.get().signals == 1


def test_a_day_that_is_used_up_does_not_show_whether_there_is_something_to_read():
    won, *_ = decide()
    client = reader(signals_per_day=1, **included())
    client.get("outcomes", limit=1)
    for path, query in (
        ("outcomes", {"state": "closed"}),
        ("outcomes", {"state": "unfilled"}),
        (f"signals/crypto/{won}/proof", {}),
        ("signals/crypto/unknown/proof", {}),
    ):
        assert client.get(path, **query).status_code == 429, (path, query)


def test_what_was_decided_is_delayed_as_the_calls_are():
    decide()
    client = reader(delay=timedelta(minutes=15), **included())
    assert client.get("outcomes").json()["outcomes"] == []
    pass_time(timedelta(minutes=20))
    # The calls are visible now; their outcomes were decided within the delay.
    assert {each["state"] for each in client.get("outcomes").json()["outcomes"]} == {"waiting"}


def test_the_filter_by_state_shows_nothing_of_what_was_decided_within_the_delay():
    decide()
    client = reader(delay=timedelta(minutes=15), **included())
    pass_time(timedelta(minutes=20))
    assert client.get("outcomes", state="closed").json()["outcomes"] == []
    shown = client.get("outcomes", state="waiting").json()["outcomes"]
    assert [each["state"] for each in shown] == ["waiting"] * 3


def test_an_outcome_that_begins_while_a_page_is_read_is_on_the_next_one(monkeypatch):
    first = call()
    score()
    begun, serialize = [], outcome_pages.serialize_outcomes

    def serialize_late(*arguments):
        begun.append(call(symbol="ETH/USDT"))
        score()
        return serialize(*arguments)

    client = reader(**included())
    with monkeypatch.context() as patched:
        patched.setattr(outcome_pages, "serialize_outcomes", serialize_late)
        page = client.get("outcomes").json()
    assert [each["signal_id"] for each in page["outcomes"]] == [first]
    rest = client.get("outcomes", after=page["next"]).json()
    assert [each["signal_id"] for each in rest["outcomes"]] == begun


def test_a_cursor_that_the_ledger_has_not_reached_is_refused_as_in_the_feed():
    call()
    score()
    answers = [
        reader(**included()).get(path, after=cursors.encode(10**18)) for path in ("signals", "outcomes")
    ]
    assert [(each.status_code, each.json()["code"]) for each in answers] == [(410, "cursor_ahead")] * 2


def test_the_record_of_an_agent():
    won, lost, _ = decide()
    client = reader(**included())
    assert client.get("agents/crypto/a/b/record").status_code == 404  # no real calls
    record = client.get("agents/crypto/a/b/record", simulated="true").json()
    assert record["calls"] == 2
    assert record["states"] == dict.fromkeys(
        ("waiting", "open", "unfilled", "missed", "cancelled", "unpriced"), 0
    ) | {"closed": 2}
    gains = [outcome(each)["r_multiple"] for each in (won, lost)]
    assert record["win_rate"] == 0.5
    assert record["mean_r"] == float(sum(gains) / 2)
    assert record["profit_factor"] == pytest.approx(float(gains[0] / -gains[1]), abs=1e-12)
    assert record["equity"] == [{"day": T0.date().isoformat(), "r": float(sum(gains))}]
    assert record["absent"]["sharpe"].startswith("from 60 days and 30 closed calls on")
    assert record["sharpe"] is None
    low, high = record["win_rate_interval"]
    assert (round(low, 4), round(high, 4)) == (0.0945, 0.9055)  # Wilson's, for 1 of 2
    assert [group["name"] for group in record["by_instrument"]] == ["BTC/USDT", "ETH/USDT"]
    assert [group["closed"] for group in record["by_month"]] == [2]
    assert Decimal(record["horizon_hours"]) == 720


def test_a_plans_delay_keeps_present_prices_out_of_the_record():
    call(symbol="SOL/USDT", agent_source="a/b", **LONG)
    insert(candle_rows("100.5/101/100/101"), instrument="SOL/USDT")
    decide()
    now, late = reader(**included()), reader(delay=timedelta(minutes=15), **included())
    query = {"path": "agents/crypto/a/b/record", "simulated": "true"}
    assert now.get(**query).json()["states"]["open"] == 1
    pass_time(timedelta(minutes=20))
    assert late.get(**query).status_code == 404, "nothing of it was decided before the delay"
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute("UPDATE outcome_events SET decided_at = decided_at - interval '20 minutes'")
        cursor.execute("SET session_replication_role = origin")
    before = late.get(**query).json()
    assert (before["calls"], before["states"]["closed"], before["states"]["open"]) == (2, 2, 0)
    total = now.get(**query).json()["total_r"]
    insert(candle_rows("101/103/101/103", T0 + timedelta(seconds=90)), instrument="SOL/USDT")
    score()
    assert now.get(**query).json()["total_r"] > total
    assert late.get(**query).json() == before


def test_an_agent_that_nobody_knows_has_no_record():
    assert reader().get("agents/crypto/nobody/record").status_code == 404
