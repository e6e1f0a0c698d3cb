"""What is removed with time, and what never is."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from django.conf import settings
from django.db import connection

from aggregator.arrivals import cadence, counters, retention
from aggregator.models import (
    Agent,
    AgentCadence,
    AlertNotification,
    ArrivalHour,
    ArrivalMinute,
    DeadLetter,
    PeriodicJob,
    Sighting,
    SymbolAlias,
    TradingSignal,
)
from aggregator.periodic import PeriodicJobs
from tests.aggregator.ledger.samples import entry, record_and_count, rows

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])

MONTH = {"arrival_minutes": 31, "arrival_hours": 31, "dead_letters": 31, "sightings": 31}
YEAR = {"unresolved_dead_letters": 365}


def days_pass(days):
    """Move all that is known into the past.

    In two steps with an empty range between: in one, a row may reach the place of
    another that is yet to move, which a unique index refuses.
    """
    far = 100_000
    for table, column in {
        "arrival_minutes": "minute", "arrival_hours": "hour", "arrival_totals": "through",
        "dead_letters": "resolved_at", "sightings": "seen_at", "trading_signals": "received_at",
    }.items():  # fmt: skip
        for step in (-days - far, far):
            rows(f"UPDATE {table} SET {column} = {column} + make_interval(days => {step}) RETURNING 1")


def send(name):
    """A signal, the same again, and one that is refused."""
    record_and_count([entry(name), entry(name), entry(f"{name}-bad", action="HODL")], "redis")


def test_what_is_old_goes_and_the_ledger_stays():
    send("old")
    DeadLetter.objects.update(resolved_at=datetime.now(UTC))
    send("unresolved")
    days_pass(32)
    old = {"arrival_minutes": ArrivalMinute.objects.count(), "arrival_hours": ArrivalHour.objects.count()}
    send("new")
    counters.fold()
    assert retention.prune(MONTH) == old | {"dead_letters": 1, "sightings": 2}
    assert (ArrivalMinute.objects.count(), ArrivalHour.objects.count(), Sighting.objects.count()) == (2, 2, 1)
    assert set(DeadLetter.objects.values_list("signal_id", flat=True)) == {"unresolved-bad", "new-bad"}
    assert TradingSignal.objects.count() == 3
    assert set(retention.prune(MONTH | YEAR).values()) == {0}
    DeadLetter.objects.filter(signal_id="unresolved-bad").update(
        last_at=datetime.now(UTC) - timedelta(days=366)
    )
    assert retention.prune(YEAR) == {"unresolved_dead_letters": 1}


def test_what_is_kept_for_ever_stays():
    send("old")
    days_pass(3000)
    counters.fold()
    assert retention.prune(dict.fromkeys(MONTH)) == {}
    assert (ArrivalMinute.objects.count(), Sighting.objects.count()) == (2, 1)


def test_a_minute_goes_only_when_the_counters_have_it():
    send("old")
    days_pass(32)
    assert retention.prune(MONTH)["arrival_minutes"] == 0
    counters.fold()
    assert retention.prune(MONTH)["arrival_minutes"] == 2
    assert counters.read()["crypto", "redis"]["accepted"] == 1


def a_months_minutes(count):
    start = datetime.now(UTC) - timedelta(days=40)
    ArrivalMinute.objects.bulk_create(
        ArrivalMinute(
            minute=start - timedelta(minutes=number), ecosystem="crypto", agent_source="a",
            transport="redis", accepted=1,
        )
        for number in range(count)
    )  # fmt: skip
    counters.fold()


def test_workers_share_the_work(monkeypatch):
    monkeypatch.setattr(retention, "MAX_PRUNED_ROWS", 10)
    a_months_minutes(400)

    def prune(_number):
        try:
            return retention.prune(MONTH)["arrival_minutes"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(prune, range(8))) == 400
    assert not ArrivalMinute.objects.exists()
    assert counters.read()["crypto", "redis"]["accepted"] == 400


def test_a_turn_ends_in_time(monkeypatch):
    monkeypatch.setattr(retention, "MAX_PRUNED_ROWS", 10)
    monkeypatch.setattr(retention, "PRUNE_TIMEOUT_S", 0.0)
    a_months_minutes(25)
    assert [retention.prune(MONTH)["arrival_minutes"] for _ in range(3)] == [10, 10, 5]


def test_the_periodic_jobs_do_it_each_hour():
    def run_jobs():
        jobs = PeriodicJobs()
        while jobs.run_once():
            pass

    send("old")
    days_pass(36)
    run_jobs()
    assert not ArrivalMinute.objects.exists()
    send("older")
    days_pass(36)
    run_jobs()
    assert ArrivalMinute.objects.exists()
    PeriodicJob.objects.update(last_run_at=datetime.now(UTC) - timedelta(hours=1))
    run_jobs()
    assert not ArrivalMinute.objects.exists()


def test_notifications_go_after_ninety_days(channel):
    def notice(days):
        at = datetime.now(UTC) - timedelta(days=days)
        AlertNotification.objects.create(
            channel=channel, severity="info", title=f"{days}", body="", created_at=at, due_at=at
        )

    notice(89)
    notice(91)
    retention.prune(settings.KEEP_DAYS)
    assert AlertNotification.objects.get().title == "89"


def test_agents_and_aliases_unseen_for_long_go_but_not_what_an_operator_set():
    for name in ("old", "set", "public", "new"):
        record_and_count([entry(name, agent_source=name, symbol=f"t{name.upper()}BTCUSD")], "redis")
    Agent.objects.filter(agent_source="set").update(expected_cadence=timedelta(hours=1))
    Agent.objects.filter(agent_source="public").update(published_at=datetime.now(UTC))
    SymbolAlias.objects.filter(symbol__contains="SET").update(instrument="BTC/USD")
    cadence.learn_cadences()
    rows("UPDATE agents SET last_seen = now() - interval '91 days' WHERE agent_source <> 'new' RETURNING 1")
    rows("UPDATE symbol_aliases SET last_seen = now() - interval '91 days' WHERE symbol !~ 'NEW' RETURNING 1")
    kept = settings.ENVIRONMENT.keep_days
    assert (kept["agents"], kept["symbol_aliases"]) == (90, 90)
    gone = retention.prune(kept)
    assert (gone["agents"], gone["symbol_aliases"]) == (1, 2)
    assert set(Agent.objects.values_list("agent_source", flat=True)) == {"set", "public", "new"}
    assert AgentCadence.objects.count() == 3
    assert SymbolAlias.objects.filter(symbol__contains="OLD").count() == 0
