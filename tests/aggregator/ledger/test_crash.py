"""`kill -9` of a consumer at each moment that matters: afterwards each signal is on record exactly once."""

import psycopg
import pytest
from django.db import connection

from aggregator.ingest.streams import GROUP
from aggregator.models import DeadLetter, TradingSignal
from tests.aggregator.ledger.samples import raw, rows, value
from tests.servers import eventually

STREAM = "core_signals:signals"
COUNT = 300
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def backlog(redis_client):
    """Entries in the stream, some twice and one of them bad."""
    redis_client.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    pipeline = redis_client.pipeline()
    for number in range(COUNT):
        pipeline.xadd(STREAM, {"payload": raw(f"s{number}")})
    pipeline.xadd(STREAM, {"payload": raw("s0")})
    pipeline.xadd(STREAM, {"payload": b"{}"})
    pipeline.execute()
    return redis_client


@pytest.fixture
def other():
    """A second connection, to hold locks with."""
    with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as other:
        yield other


def pending(client):
    return client.xpending(STREAM, GROUP)["pending"]


def finish(run_manage, client):
    """Let the entries of the killed consumer grow old, and another consumer take over."""
    ids = [item["message_id"] for item in client.xpending_range(STREAM, GROUP, "-", "+", 10_000)]
    if ids:
        client.xclaim(STREAM, GROUP, "killed", 0, ids, idle=61_000, justid=True)
    assert run_manage("consume_streams", "--once").wait() == 0
    assert pending(client) == 0
    recorded = sorted(name for (name,) in rows("SELECT signal_id FROM trading_signals"))
    assert recorded == sorted(f"s{number}" for number in range(COUNT))
    assert value("SELECT count(*) FROM trading_signals WHERE position IS NULL") == 0
    assert DeadLetter.objects.count() == 1


def test_killed_after_reading(run_manage, backlog, other):
    other.execute("LOCK TABLE trading_signals IN EXCLUSIVE MODE")
    program = run_manage("consume_streams")
    program.until(lambda: pending(backlog) == COUNT + 2)
    program.kill()
    other.rollback()
    assert not TradingSignal.objects.exists()
    finish(run_manage, backlog)


def test_killed_during_the_insert_which_the_server_finishes_all_the_same(run_manage, backlog, other):
    other.execute(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN IF NEW.signal_id = 's150' THEN PERFORM pg_sleep(5); END IF; RETURN NEW; END $$"
    )
    other.execute(
        "CREATE TRIGGER dawdle BEFORE INSERT ON trading_signals FOR EACH ROW EXECUTE FUNCTION dawdle()"
    )
    other.commit()
    try:
        program = run_manage("consume_streams")
        sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        program.until(lambda: value(sleeping) == 1)
        program.kill()
        # What reached the server in one message is a whole transaction; no consumer acknowledges it.
        eventually(lambda: TradingSignal.objects.count() == COUNT)
    finally:
        other.execute("DROP FUNCTION dawdle CASCADE")
        other.commit()
    assert pending(backlog) == COUNT + 2
    finish(run_manage, backlog)


def test_killed_after_the_commit_and_before_the_acknowledgement(run_manage, backlog, other):
    other.execute("LOCK TABLE trading_signals IN EXCLUSIVE MODE")
    program = run_manage("consume_streams")
    program.until(lambda: pending(backlog) == COUNT + 2)
    backlog.client_pause(60_000, all=False)  # Redis takes no writes, and an XACK is one
    other.rollback()
    program.until(lambda: TradingSignal.objects.count() == COUNT)
    program.kill()
    backlog.client_unpause()
    assert pending(backlog) == COUNT + 2
    finish(run_manage, backlog)
