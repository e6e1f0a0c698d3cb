"""The follower that counts recorded signals: each once, whatever is killed and however many run."""

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from django.db import connection

from aggregator import ledger
from aggregator.arrivals import counters
from aggregator.arrivals.rollups import RollupFollower
from aggregator.arrivals.silence import Judge
from aggregator.models import Agent, ArrivalHour, ArrivalMinute, FollowerCursor, SymbolAlias
from tests.aggregator.ledger.samples import entry, record_and_count, rows, value
from tests.servers import eventually

pytestmark = pytest.mark.django_db(transaction=True)

FOLLOW = """
import time, django
django.setup()
from aggregator.arrivals.rollups import RollupFollower
class SmallBatches(RollupFollower):
    batch = 20
follower = SmallBatches()
while True:
    follower.run_once() or time.sleep(0.01)
"""
HEAD = "SELECT max(position) FROM trading_signals"
LOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def follow(run_program):
    """Start a process that counts what is recorded, twenty signals a transaction."""
    return lambda: run_program([sys.executable, "-c", FOLLOW], DJANGO_SETTINGS_MODULE="config.settings")


def is_caught_up():
    return FollowerCursor.objects.filter(name="rollups", position=value(HEAD)).exists()


def test_killed_between_its_writes_it_counts_each_signal_once(follow):
    record_and_count([entry("first")], "redis")
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        other.execute("SELECT FROM agents FOR UPDATE")
        ledger.record([entry(f"s{number}") for number in range(50)], "redis")
        program = follow()
        program.until(lambda: value(LOCKED) == 1)  # minutes and hours are written, the agent is not
        program.kill()
        other.rollback()
    eventually(lambda: RollupFollower().run_once() and is_caught_up())
    assert sum(ArrivalMinute.objects.values_list("accepted", flat=True)) == 51
    assert sum(ArrivalHour.objects.values_list("accepted", flat=True)) == 51
    assert Agent.objects.get().signals == 51


def test_several_at_once_killed_at_any_moment_agree_with_the_ledger_while_duplicates_are_counted(follow):
    def send(batch):
        entries = [
            entry(f"{batch}-{number}", agent_source=f"bot-{number % 7}", symbol="tBTCUSD")
            for number in range(60)
        ]
        try:
            return Counter(
                result.fate
                for _ in range(2)
                for result in ledger.record(entries, ("redis", "webhook")[batch % 2])
            )
        finally:
            connection.close()

    programs = [follow() for _ in range(3)]
    sent: Counter[ledger.Fate] = Counter()
    with ThreadPoolExecutor(4) as threads:
        for counts in threads.map(send, range(24)):
            sent += counts
            if sum(sent.values()) % 600 == 0:
                programs.pop(0).kill()
                programs.append(follow())
    assert sent == {"accepted": 24 * 60, "duplicate": 24 * 60}
    eventually(is_caught_up)
    recorded = """
        SELECT agent_source, transport, count(*), count(*) FROM trading_signals GROUP BY 1, 2 ORDER BY 1, 2"""
    for table in ("arrival_minutes", "arrival_hours"):
        counted = (
            f"SELECT agent_source, transport, sum(accepted)::bigint, sum(duplicates)::bigint FROM {table}"
        )
        assert rows(f"{counted} GROUP BY 1, 2 ORDER BY 1, 2") == rows(recorded)
    assert value("SELECT sum(n) FROM arrival_minutes, unnest(lags) AS n") == 24 * 60
    agents = "SELECT agent_source, sum(signals)::bigint FROM agents GROUP BY 1 ORDER BY 1"
    assert rows(agents) == rows("SELECT agent_source, count(*) FROM trading_signals GROUP BY 1 ORDER BY 1")
    assert SymbolAlias.objects.get().signals == 24 * 60


def test_signals_count_in_the_minute_in_which_they_were_recorded():
    ledger.record([entry("a"), entry("b")], "redis")
    rows(
        "UPDATE trading_signals SET recorded_at = '2026-01-02T03:59:59Z', "
        "received_at = '2026-01-02T03:59:58Z' "
        "WHERE signal_id = 'a' RETURNING 1"
    )
    RollupFollower().catch_up()
    first = ArrivalMinute.objects.earliest("minute")
    assert (first.minute, first.accepted) == (datetime(2026, 1, 2, 3, 59, tzinfo=UTC), 1)
    hour = ArrivalHour.objects.earliest("hour")
    assert (hour.hour.hour, hour.last_at) == (3, datetime(2026, 1, 2, 3, 59, 58, tzinfo=UTC))


def two_hours_pass():
    """Move what is recorded into the past."""
    rows("UPDATE trading_signals SET recorded_at = recorded_at - interval '2 hours' RETURNING 1")


def test_totals_miss_nothing_that_was_counted_late():
    ledger.record([entry("late")], "redis")
    two_hours_pass()
    ArrivalMinute.objects.create(
        minute=datetime.now(UTC) - timedelta(hours=1), ecosystem="crypto", agent_source="a",
        transport="redis", accepted=1,
    )  # fmt: skip
    counters.fold()
    RollupFollower().catch_up()
    counters.fold()
    assert counters.read()["crypto", "redis"]["accepted"] == 2


def test_no_agent_is_silent_for_what_is_not_counted_yet():
    record_and_count([entry("a")], "redis")
    Agent.objects.update(
        last_seen=datetime.now(UTC) - timedelta(hours=3), expected_cadence=timedelta(hours=2)
    )
    assert Judge().too_long()
    ledger.record([entry("b")], "redis")
    rows(
        "UPDATE trading_signals SET recorded_at = now() - interval '2 hours' "
        "WHERE signal_id = 'b' RETURNING 1"
    )
    assert not Judge().too_long()


def test_a_replayed_signal_is_no_sign_of_life_and_has_no_lag():
    yesterday = datetime.now(UTC) - timedelta(days=1)
    ledger.record([entry("a")], "redis", first_received_at=yesterday)
    RollupFollower().catch_up()
    assert (Agent.objects.get().last_seen, Agent.objects.get().signals) == (yesterday, 1)
    assert not any(sum(minute.lags) for minute in ArrivalMinute.objects.all())
