"""What a sender can do to the counts of others: nothing by what is refused, and little by new names."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings

from aggregator import ledger
from aggregator.alerts.rules import evaluate
from aggregator.arrivals.liveness import calendars_loaded, current_liveness, read_agents
from aggregator.arrivals.queries import RollupCache
from aggregator.arrivals.rollups import RollupFollower
from aggregator.arrivals.silence import Liveness
from aggregator.health import metrics
from aggregator.ledger.entries import Entry
from aggregator.models import (
    Agent,
    AlertPolicy,
    ArrivalHour,
    ArrivalMinute,
    SenderMinute,
    SymbolAlias,
    TradingSignal,
)
from tests.aggregator.ledger.samples import raw, rows, value

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

FOREX_ONLY = frozenset({"forex"})
REPLAY = {"tags": ["replay"], "timestamp": "2006-01-02T03:04:05Z"}


@pytest.fixture
def limit(monkeypatch):
    """Let a sender bring ten new names an hour."""
    monkeypatch.setattr(settings, "ENVIRONMENT", replace(settings.ENVIRONMENT, sender_new_names=10))


def send(*signals, sender="key:a", ecosystems=None, transport="webhook"):
    """Record signals, each given as (id, fields), and count them."""
    entries = [Entry(raw(name, **fields), sender, ecosystems) for name, fields in signals]
    results = ledger.record(entries, transport)
    RollupFollower().catch_up()
    return [str(result.fate) for result in results]


def bring(count, sender="key:a", prefix="bot", **fields):
    named = [(f"{prefix}-{n}", {"agent_source": f"{prefix}-{n}", **fields}) for n in range(count)]
    return send(*named, sender=sender)


def long_ago():
    return datetime(2026, 1, 2, tzinfo=UTC)


def agents():
    return set(Agent.objects.values_list("agent_source", flat=True))


def test_names_beyond_the_limit_are_recorded_and_counted_under_other(limit):
    assert set(bring(25)) == {"accepted"}
    assert TradingSignal.objects.values("agent_source").distinct().count() == 25
    assert agents() == {f"bot-{number}" for number in range(10)} | {"(other)"}
    assert Agent.objects.get(agent_source="(other)").signals == 15
    for table in (ArrivalMinute, ArrivalHour):
        assert table.objects.get(agent_source="(other)").accepted == 15
        assert sum(table.objects.values_list("accepted", flat=True)) == 25
    assert value("SELECT sum(new_names) FROM sender_minutes") == 10


def test_agents_and_symbols_count_together_and_over_batches(limit):
    bring(6)
    symbols = [(f"s-{n}", {"agent_source": "bot-0", "symbol": f"tX{n}BTCUSD"}) for n in range(9)]
    send(*symbols)
    listed = dict(SymbolAlias.objects.values_list("symbol", "signals"))
    assert listed == {f"tX{n}BTCUSD": 1 for n in range(4)} | {"(other)": 5}
    bring(3, prefix="more")
    assert agents() == {f"bot-{number}" for number in range(6)} | {"(other)"}


def test_known_names_and_other_senders_are_not_limited(limit):
    bring(10)
    bring(10, sender="key:b", prefix="other")
    assert len(agents()) == 20
    bring(10, prefix="bot", timestamp="2026-01-03T00:00:00Z")
    send(*[(f"again-{n}", {"agent_source": f"other-{n}"}) for n in range(10)])
    assert "(other)" not in agents()


def test_an_hour_later_a_sender_may_bring_new_names_again(limit):
    bring(12)
    rows("UPDATE sender_minutes SET minute = minute - interval '61 minutes' RETURNING 1")
    send(("late", {"agent_source": "bot-11"}))
    assert "bot-11" in agents()


def test_duplicates_make_no_names_either(limit):
    fates = bring(25) + bring(25)
    assert fates.count("duplicate") == 25
    assert len(agents()) == 11
    assert sum(ArrivalMinute.objects.values_list("duplicates", flat=True)) == 25
    assert ArrivalMinute.objects.values("agent_source").distinct().count() == 11


def test_metrics_have_a_bounded_number_of_series(limit, monkeypatch):
    bring(25)
    monkeypatch.setattr(metrics, "MAX_AGENTS", 4)
    seen, _ = metrics.agents()
    assert [sample.labels["agent"] for sample in seen.samples] == [
        "bot-0",
        "bot-1",
        "bot-2",
        "bot-3",
        "(other)",
    ]
    send(("latest", {"agent_source": "bot-9"}))
    again = next(iter(metrics.agents()))
    assert [sample.labels for sample in again.samples] == [sample.labels for sample in seen.samples]


def test_what_is_refused_keeps_no_agent_alive_and_alerts_about_its_sender_only():
    """A key for forex sends what names an agent of crypto, whose market it may not write to."""
    send(("a", {"agent_source": "victim"}))
    rows("UPDATE agents SET last_seen = now() - interval '2 days' RETURNING 1")
    before = Agent.objects.get().last_seen
    forged = [(f"f-{n}", {"agent_source": "victim"}) for n in range(20)]
    assert set(send(*forged, sender="key:forex", ecosystems=FOREX_ONLY)) == {"refused"}
    conflicts = send(("a", {"agent_source": "victim", "entry_price": 1}), sender="key:b")
    broken = send(("b", {"agent_source": "victim", "action": "HODL"}), sender="key:b")
    assert conflicts + broken == ["conflict", "refused"]
    assert Agent.objects.get().last_seen == before
    counted = ArrivalMinute.objects.filter(agent_source="victim")
    assert sum(minute.refused + minute.conflicts for minute in counted) == 0
    assert not Agent.objects.filter(agent_source="(refused)").exists()
    found = evaluate(AlertPolicy.current(), []).found
    assert [(each.rule, each.subject) for each in found] == [
        ("agent_silent", "crypto/victim"), ("refusals", "key:forex")
    ]  # fmt: skip
    assert SenderMinute.objects.get(sender="key:forex").refused == 20
    refused = ArrivalMinute.objects.filter(agent_source="(refused)").values_list("ecosystem", "refused")
    assert dict(refused) == {"": 20, "crypto": 1}


def test_a_duplicate_is_a_sign_of_life():
    send(("a", {}))
    rows("UPDATE agents SET last_seen = now() - interval '2 days' RETURNING 1")
    assert send(("a", {})) == ["duplicate"]
    assert Agent.objects.get().last_seen > datetime.now(UTC) - timedelta(minutes=1)


def test_many_senders_that_are_refused_make_a_bounded_number_of_alerts():
    rows(
        "INSERT INTO sender_minutes (minute, sender, accepted, duplicates, conflicts, refused, new_names)"
        " SELECT date_trunc('minute', now()), 'key:' || n, 0, 0, 0, 50, 0 FROM generate_series(1, 500) AS n"
        " RETURNING 1"
    )
    assert len(evaluate(AlertPolicy.current(), []).found) == 100


def test_a_replay_is_outside_of_lag_and_liveness():
    calendars_loaded.get(60)
    send(
        *[
            (f"r-{n}", {"agent_source": "replayer", "ecosystem": "stock", "symbol": "GOOG"} | REPLAY)
            for n in range(42)
        ]
    )
    assert (Agent.objects.get().agent_source, Agent.objects.get().signals) == ("replayer", 0)
    assert sum(sum(minute.lags) for minute in ArrivalMinute.objects.all()) == 0
    *_, stock = current_liveness(datetime.now(UTC), RollupCache(), read_agents())
    assert (stock.state, stock.total.last_at, stock.total.day) == (Liveness.NEVER, None, 42)
    Agent.objects.update(first_seen=long_ago(), last_seen=long_ago())
    send(("live", {"agent_source": "replayer", "ecosystem": "stock", "symbol": "GOOG"}))
    seen = Agent.objects.get().last_seen
    assert Agent.objects.get().longest_gap is None
    assert Agent.objects.get().first_seen > long_ago()
    send(("r", {"agent_source": "replayer", "ecosystem": "stock", "symbol": "GOOG"} | REPLAY))
    assert (Agent.objects.get().last_seen, Agent.objects.get().signals) == (seen, 1)


def test_replays_bring_no_more_new_agents_than_any_signals(limit):
    bring(15, **REPLAY)
    assert Agent.objects.count() == 10
    assert ArrivalMinute.objects.get().agent_source == "(replayed)"


def test_synthetic_signals_are_watched_like_any_others():
    send(("s", {"tags": ["synthetic"]}))
    assert agents() == {"bot-1"}
    assert sum(sum(minute.lags) for minute in ArrivalMinute.objects.all()) == 1
