"""The same signal over all three transports at once, fifty times each: one row, the rest duplicates."""

import os
import threading

import psycopg
import pytest
import redis
import requests
from django.db import connection
from django.db.models import Sum

from aggregator.models import ArrivalMinute, DeadLetter, Sighting, TradingSignal
from tests.aggregator.ledger.samples import raw, signal, signed
from tests.servers import eventually

TIMES = 50
FIELDS = {"entry_price": "64000.12", "raw_payload": {}, "tags": [], "confidence": None, "volume": None}

INSERT = """
    INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action, entry_price, agent_source)
    VALUES ('s1', 'crypto', '2026-01-02T03:04:05.123456Z', 'BTCUSDT', 'BUY', 64000.12, 'bot-1')
    ON CONFLICT DO NOTHING"""


@pytest.mark.django_db(transaction=True)
def test_one_row_and_the_rest_are_duplicates(live_hub, run_manage, redis_client, count_arrivals):
    hub = live_hub()
    programs = [run_manage("consume_streams"), run_manage("consume_databases")]
    for program in programs:
        program.until(lambda p=program: "EventBus" in p.text)
    body, together = raw(**FIELDS), threading.Barrier(3)
    statuses, inserted = [], []

    def post():
        with requests.Session() as session:
            together.wait()
            for number in range(TIMES):
                headers = signed(body, message_id=f"msg_{number}")
                answer = session.post(f"{hub}/api/signals", data=body, headers=headers, timeout=30)
                statuses.append(answer.status_code)

    def add():
        with redis.Redis.from_url(os.environ["CORE_REDIS_URL"]) as client:
            together.wait()
            for _ in range(TIMES):
                client.xadd("core_signals:signals", {"payload": body})

    def insert():
        with psycopg.connect(**connection.get_connection_params() | {"cursor_factory": None}) as agent:
            together.wait()
            while len(inserted) < TIMES:
                try:
                    inserted.append(agent.execute(INSERT).rowcount)
                    agent.commit()
                except psycopg.errors.SerializationFailure:  # another transport's came at the same time
                    agent.rollback()

    threads = [threading.Thread(target=target) for target in (post, add, insert)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    arrived = 3 * TIMES
    eventually(lambda: Sighting.objects.aggregate(times=Sum("times"))["times"] == arrived - 1)
    row = TradingSignal.objects.get()
    eventually(lambda: TradingSignal.objects.get().position)
    assert len(statuses) == TIMES
    assert set(statuses) <= {200, 202}
    assert statuses.count(202) == (row.transport == "webhook")
    assert set(Sighting.objects.values_list("transport", flat=True)) == {"redis", "webhook", "database"}
    assert not DeadLetter.objects.exists()
    count_arrivals()
    counted = ArrivalMinute.objects.values_list("accepted", "duplicates")
    assert sum(accepted for accepted, _ in counted) == 1
    assert sum(duplicates for _, duplicates in counted) == arrived - 1
    assert signal()["signal_id"] == row.signal_id
    assert [program.stop() for program in programs] == [0, 0]
