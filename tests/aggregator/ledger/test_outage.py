"""Postgres or Redis away for a while: nothing is lost, no dead letters, and all goes on by itself."""

import os

import psycopg
import pytest
import requests
from django.db import connection

from aggregator.ingest.streams import GROUP
from aggregator.models import DeadLetter, TradingSignal
from ecosystems import ECOSYSTEMS
from tests.aggregator.ledger.samples import insert, raw, signed
from tests.servers import SERVERS, eventually

STREAM = "core_signals:signals"


def post(hub, signal_id):
    body = raw(signal_id)
    return requests.post(f"{hub}/api/signals", data=body, headers=signed(body), timeout=30)


def test_postgres_stopped_for_a_while(
    postgres_server, live_hub, run_manage, redis_client, program_environment
):
    hub = live_hub()
    streams, databases = run_manage("consume_streams"), run_manage("consume_databases")
    redis_client.xadd(STREAM, {"payload": raw("before")})
    streams.until(TradingSignal.objects.exists)
    assert post(hub, "web-before").status_code == 202

    postgres_server.stop()
    answer = post(hub, "web-during")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"] == "application/problem+json"
    redis_client.xadd(STREAM, {"payload": raw("during")})
    streams.until(lambda: "outage" in streams.text)
    databases.until(lambda: "outage" in databases.text)
    assert requests.get(f"{hub}/livez", timeout=30).status_code == 200

    postgres_server.start()
    connection.close()
    with psycopg.connect(program_environment["CORE_DB_URL"]) as agent:
        insert(agent.cursor(), "direct")
    assert eventually(lambda: post(hub, "web-during").status_code == 202)
    expected = {"before", "during", "web-before", "web-during", "direct"}
    recorded = TradingSignal.objects.exclude(position=None).values_list("signal_id", flat=True)
    eventually(lambda: set(recorded.all()) == expected)
    eventually(lambda: redis_client.xpending(STREAM, GROUP)["pending"] == 0)
    assert not DeadLetter.objects.exists()
    assert [streams.stop(), databases.stop()] == [0, 0]


@pytest.mark.django_db(transaction=True)
def test_redis_stopped_for_a_while(run_manage, live_hub, redis_client):
    if SERVERS.redis is None:
        pytest.skip("the Redis of CORE_TEST_REDIS_URL is not ours to stop")
    streams, hub = run_manage("consume_streams"), live_hub(CORE_WEBHOOK_RATE="100/minute")
    redis_client.xadd(STREAM, {"payload": raw("before")})
    streams.until(TradingSignal.objects.exists)
    SERVERS.redis.stop()
    try:
        streams.until(lambda: "outage" in streams.text)
        assert post(hub, "web").status_code == 202, "the webhook does not need Redis"
    finally:
        SERVERS.redis.start()
    redis_client.xadd(STREAM, {"payload": raw("after")})
    eventually(lambda: TradingSignal.objects.filter(signal_id="after").exists())
    assert streams.stop() == 0
    assert not DeadLetter.objects.filter(code="delivered_too_often").exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_delivered_during_an_outage_has_one_delivery_less(run_manage, redis_client):
    """Consumers that are started again and again meanwhile do not make it a dead letter."""

    def left_for_a_minute(**times):
        for item in redis_client.xpending_range(STREAM, GROUP, "-", "+", 10):
            ids = [item["message_id"]]
            redis_client.xclaim(STREAM, GROUP, "gone", 0, ids, idle=61_000, justid=True, **times)

    redis_client.xgroup_create(STREAM, GROUP, "0", mkstream=True)
    redis_client.xadd(STREAM, {"payload": raw("claimed")})
    redis_client.xreadgroup(GROUP, "gone", {STREAM: ">"})
    left_for_a_minute(retrycount=4)
    redis_client.xadd(STREAM, {"payload": raw("read-ahead")})
    streams = run_manage("consume_streams", CORE_DB_URL="postgres://nobody@127.0.0.1:1/nowhere")
    streams.until(lambda: "outage" in streams.text)
    streams.until(lambda: redis_client.xpending(STREAM, GROUP)["pending"] == 2)
    assert streams.stop() == 0
    pending = redis_client.xpending_range(STREAM, GROUP, "-", "+", 10)
    assert [item["times_delivered"] for item in pending] == [4, 0]

    left_for_a_minute()
    assert run_manage("consume_streams", "--once").wait(40) == 0
    assert {row.signal_id for row in TradingSignal.objects.all()} == {"claimed", "read-ahead"}
    assert not DeadLetter.objects.exists()


def test_an_ecosystems_own_database_away_does_not_hold_up_the_core(
    transactional_db, run_manage, program_environment
):
    nowhere = program_environment["CORE_FOREX_DB_URL"].rpartition("/")[0] + "/is_not_there"
    program = run_manage("consume_databases", CORE_FOREX_DB_URL=nowhere)
    program.until(lambda: "loop=databases:forex outage" in program.text)
    with psycopg.connect(program_environment["CORE_DB_URL"]) as agent:
        insert(agent.cursor(), "direct")
    program.until(lambda: TradingSignal.objects.exclude(position=None).exists())
    assert program.stop() == 0
    assert os.environ["CORE_DB_URL"] not in program.text
    assert set(ECOSYSTEMS) >= {"forex"}
