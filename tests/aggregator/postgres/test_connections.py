"""Each process opens few connections to Postgres, and closes what it does not use."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
import requests
from django.db import OperationalError, connection, connections, transaction

from aggregator.models import TradingSignal
from aggregator.postgres import pool
from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.commerce.feed.reading import grant
from tests.commerce.streaming.stream_client import EventSource, granian
from tests.servers import eventually, free_port, manage, receiver, serve, web

pytestmark = pytest.mark.django_db(transaction=True)

MAX_OF_A_HUB = 14
"""A session pooler of a small plan at Supabase has 15."""
PROGRAMS = "programs"


@pytest.fixture(autouse=True)
def own_pool():
    """Threads of earlier tests may have connections still: other options, another pool."""
    options = connections.settings["default"]["OPTIONS"]
    before = options["application_name"]
    connection.close()
    options["application_name"] = "test-connections"
    yield
    connection.close()
    options["application_name"] = before
    pool.close_idle_connections()


def backend():
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def end(process):
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", [process])


def in_thread(function, *arguments):
    """What a thread of its own returns, which releases its connection."""

    def call():
        try:
            return function(*arguments)
        finally:
            pool.release_connections()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(call).result()


@contextmanager
def holding(count, *, serving_signals=False):
    """Threads that have a connection each until the end."""
    free, held = threading.Event(), threading.Semaphore(0)

    def hold():
        if serving_signals:
            pool.serve_signals()
        backend()
        held.release()
        free.wait()
        pool.release_connections()

    threads = [threading.Thread(target=hold) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        for _ in threads:
            assert held.acquire(timeout=30)
        yield free
    finally:
        free.set()
        for thread in threads:
            thread.join()


def count(application=PROGRAMS):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = %s", [application])
        return cursor.fetchone()[0]


def test_a_hub_under_load_opens_fewer_than_a_small_pooler_has(run_program, program_environment):
    """Web, receiver, stream and worker."""
    url = program_environment["CORE_DB_URL"]
    named = {"CORE_DB_URL": f"{url}{'&' if '?' in url else '?'}application_name={PROGRAMS}"}
    key = grant(streams=20, requests_per_day=None).value
    run_program(manage("run_worker"), **named)
    web_url, receiver_url, stream_url = (
        serve(run_program, command, free_port(), **named) for command in (web, receiver, granian)
    )

    def read(_):
        answer = requests.get(f"{web_url}/api/v1/signals", headers={"X-API-Key": key}, timeout=60)
        return answer.status_code

    def send(number):
        body = as_bytes(wire(f"many-{number}"))
        headers = {"Content-Type": "application/json"} | standard(body)
        target = (web_url, receiver_url)[number % 2]
        return requests.post(f"{target}/api/signals", data=body, headers=headers, timeout=60).status_code

    with ExitStack() as stack, ThreadPoolExecutor(24) as threads:
        for _ in range(10):
            source = EventSource(stream_url, key)
            assert source.status == 200
            stack.callback(source.close)
        answers = [threads.submit(read if number % 3 else send, number) for number in range(240)]
        most = 0
        while not all(answer.done() for answer in answers):
            most = max(most, count())
        assert {answer.result() for answer in answers} == {200, 202}
    assert 4 <= most <= MAX_OF_A_HUB
    assert TradingSignal.objects.count() == 80


def test_a_connection_that_was_released_is_used_again():
    assert in_thread(backend) == in_thread(backend)


def test_what_is_idle_is_closed(monkeypatch, program_environment):
    monkeypatch.setattr(pool, "MAX_IDLE_S", 0.05)
    own = pool.Pool()
    acquired = own.acquire(lambda: psycopg.connect(program_environment["CORE_DB_URL"]))
    own.release(acquired)
    eventually(lambda: acquired.closed)


def test_a_thread_beyond_the_limit_waits_for_a_connection_that_is_released(monkeypatch):
    connection.close()
    monkeypatch.setattr(pool, "max_connections", 4)
    with holding(2) as free, ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(in_thread, backend)
        assert not waiting.done()
        free.set()
        assert waiting.result(30)


def test_pages_leave_half_of_the_connections_to_signals(monkeypatch):
    connection.close()
    monkeypatch.setattr(pool, "max_connections", 4)
    monkeypatch.setattr(pool, "WAIT_TIMEOUT_S", 0.05)
    with holding(2):
        with pytest.raises(OperationalError, match="none of 4 connections was free"):
            in_thread(backend)
        with holding(2, serving_signals=True):
            pass
    assert in_thread(backend)


def test_signals_leave_the_other_half_to_pages_while_there_is_room(monkeypatch):
    connection.close()
    monkeypatch.setattr(pool, "WAIT_TIMEOUT_S", 0.05)
    for most in (2, 5):
        monkeypatch.setattr(pool, "max_connections", most)
        with holding(most // 2, serving_signals=True):
            assert in_thread(backend)
            with holding(most - most // 2), pytest.raises(OperationalError, match="was free"):
                in_thread(backend)


def test_a_connection_that_went_with_its_thread_does_not_count(monkeypatch):
    connection.close()
    monkeypatch.setattr(pool, "max_connections", 2)
    for _ in range(4):
        thread = threading.Thread(target=backend)  # ends without releasing its connection
        thread.start()
        thread.join()
        gc.collect()
    assert backend()


def test_a_transaction_is_not_passed_on():
    def leave_open():
        connection.cursor().execute("BEGIN")
        return backend()

    assert in_thread(leave_open) != in_thread(backend)


def test_a_connection_in_a_transaction_is_not_released_by_its_thread():
    with transaction.atomic():
        process = backend()
        pool.release_connections()
        assert backend() == process


def test_dead_connections_are_replaced():
    with holding(3):
        pass
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert cursor.fetchone()[0] >= 2
    connection.close()
    with holding(3):
        assert backend()
