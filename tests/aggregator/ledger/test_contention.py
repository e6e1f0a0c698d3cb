"""Agents whose transactions stay open hold up their own signals, and no others for longer than a second."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from statistics import median

import psycopg
import pytest
import requests
from django.db import connection

from aggregator import ledger
from aggregator.models import DeadLetter, TradingSignal
from tests.aggregator.ledger.samples import entry, insert, raw, signed

pytestmark = pytest.mark.django_db(transaction=True)
SECOND = 1.0
NOISE = 2.0
"""What a busy machine may add to it."""


@contextmanager
def held(*signal_ids):
    """Signals that an agent has inserted in a transaction that it leaves open."""
    parameters = connection.get_connection_params() | {"cursor_factory": None}
    with closing(psycopg.connect(**parameters)) as agent:
        for signal_id in signal_ids:
            insert(agent.cursor(), signal_id)
        yield agent


def post(hub, *signal_ids):
    body = b"[" + b",".join(map(raw, signal_ids)) + b"]"
    began = time.monotonic()
    answer = requests.post(f"{hub}/api/signals", data=body, headers=signed(body), timeout=60)
    return answer, time.monotonic() - began


def test_innocent_senders_are_answered_while_one_repeats_a_thousand_ids_that_are_held(shared_hub):
    hub = shared_hub(CORE_WEBHOOK_RATE="100000/minute")
    post(hub, "warm")
    ids = [f"held-{number}" for number in range(1000)]
    done = threading.Event()

    def repeat(ids):
        answers = [post(hub, *ids)]
        while not done.is_set():
            answers.append(post(hub, *ids))
        return answers

    def innocent(name):
        return [post(hub, f"{name}-{number}") for number in range(8)]

    with held(*ids), ThreadPoolExecutor(6) as threads:
        vandals = [threads.submit(repeat, ids) for _ in range(2)]
        answers = [each for sent in threads.map(innocent, "abcd") for each in sent]
        done.set()
        repeated = [each for vandal in vandals for each in vandal.result()]
    assert {answer.status_code for answer, _ in answers} == {202}
    assert median(seconds for _, seconds in answers) < SECOND + NOISE
    assert {(answer.status_code, answer.json()["code"]) for answer, _ in repeated} == {(503, "busy")}
    assert median(seconds for _, seconds in repeated) < 2 * SECOND + NOISE
    assert not DeadLetter.objects.exists()


def test_a_batch_with_what_is_held_and_what_is_refused_is_over_within_a_second():
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE trading_signals ADD CONSTRAINT no_doge CHECK (symbol <> 'DOGEUSDT')")
    ids = [f"held-{number}" for number in range(0, 2000, 8)]
    entries = [
        entry(f"held-{number}", symbol="DOGEUSDT" if number % 8 == 3 else "BTCUSDT") for number in range(2000)
    ]
    try:
        with held(*ids):
            began = time.monotonic()
            results = ledger.record(entries, "redis")
            seconds = time.monotonic() - began
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE trading_signals DROP CONSTRAINT no_doge")
    assert seconds < SECOND + NOISE
    fates = [str(result.fate) for result in results]
    assert {fate for fate, each in zip(fates, entries, strict=True) if b"DOGE" in each.raw} <= {
        "refused",
        "deferred",
    }
    assert {results[number].fate for number in range(0, 2000, 8)} == {ledger.Fate.DEFERRED}
    assert TradingSignal.objects.count() == fates.count("accepted") > 100
    assert DeadLetter.objects.filter(code="database_refused").count() == fates.count("refused")
    again = ledger.record(entries, "redis")
    assert {str(result.fate) for result in again} == {"accepted", "duplicate"}
    assert TradingSignal.objects.count() == 2000
