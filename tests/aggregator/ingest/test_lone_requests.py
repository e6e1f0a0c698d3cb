"""A request that comes alone is recorded by the event loop itself, with the answers of any other."""

import functools
import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import requests
from django.db import connection

from aggregator.models import DeadLetter, Sighting, TradingSignal
from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.servers import eventually, free_port, receiver, serve, web

pytestmark = pytest.mark.django_db(transaction=True)
SERVERS = pytest.mark.parametrize("command", [receiver, web], ids=["receiver", "web"])


@pytest.fixture(scope="module")
def address(run_shared):
    """Start a server, once for all tests, and return its URL."""
    return functools.cache(lambda command: serve(run_shared, command, free_port()))


@pytest.fixture
def send(address, command, transactional_db):
    """Send signals in one request to a server that has been idle since its last one; return the answer."""
    url = address(command)

    def post(*signals):
        body = as_bytes(list(signals))
        headers = {"Content-Type": "application/json"} | standard(body)
        return requests.post(f"{url}/api/signals", data=body, headers=headers, timeout=60)

    assert post(wire("first")).status_code == 202
    assert post(wire("second")).status_code == 202
    return post


@pytest.fixture
def other():
    """A second session, to hold the ledger with."""
    parameters = connection.get_connection_params() | {"cursor_factory": None}
    with psycopg.connect(**parameters) as other:
        yield other


def waiting(other):
    """The sessions that wait for the ledger."""
    found = other.execute("SELECT pid FROM pg_locks WHERE relation = 'ledger_lock'::regclass AND NOT granted")
    return [pid for (pid,) in found]


def ids():
    return set(TradingSignal.objects.values_list("signal_id", flat=True))


@SERVERS
def test_new_known_and_refused_signals_are_answered_as_ever(send):
    assert send(wire("third")).json() == {
        "status": "accepted", "accepted": 1, "duplicates": 0, "rejected": []
    }  # fmt: skip
    assert send(wire("third")).status_code == 200
    assert send(wire("third", action="SELL")).status_code == 409
    assert send(wire("fourth", action="HODL")).status_code == 422
    mixed = send(wire("fifth"), wire("third"), wire("sixth", action="HODL"), wire("seventh"))
    assert (mixed.status_code, mixed.json()["accepted"], mixed.json()["duplicates"]) == (202, 2, 1)
    assert [each["index"] for each in mixed.json()["rejected"]] == [2]
    assert ids() == {"first", "second", "third", "fifth", "seventh"}
    positions = TradingSignal.objects.order_by("pk").values_list("position", flat=True)
    assert list(positions) == sorted(set(positions))
    assert sum(Sighting.objects.values_list("times", flat=True)) == 2
    assert set(DeadLetter.objects.values_list("code", flat=True)) == {"conflict", "invalid_value"}


@SERVERS
def test_a_session_that_is_ended_meanwhile_costs_nothing(send, other):
    with ThreadPoolExecutor(1) as thread:
        other.execute("LOCK TABLE ledger_lock IN EXCLUSIVE MODE")
        answer = thread.submit(send, wire("third"))
        [pid] = eventually(lambda: waiting(other))
        other.execute("SELECT pg_terminate_backend(%s)", [pid])
        assert eventually(lambda: set(waiting(other)) - {pid}), "the thread that writes tries again"
        other.rollback()
        assert answer.result().status_code == 202
    assert ids() == {"first", "second", "third"}
    assert send(wire("fourth")).status_code == 202


@SERVERS
def test_a_request_that_waits_too_long_is_answered_and_holds_up_none_after_it(send, other):
    with ThreadPoolExecutor(4) as threads:
        other.execute("LOCK TABLE ledger_lock IN EXCLUSIVE MODE")
        answers = [threads.submit(send, wire("late"))]
        eventually(lambda: waiting(other))
        answers += [threads.submit(send, wire(f"late-{number}")) for number in range(3)]
        assert {answer.result().status_code for answer in answers} == {503}
        other.rollback()
        assert eventually(lambda: send(wire("next")).status_code in {200, 202})
    assert "next" in ids()
    assert send(wire("late")).status_code in {200, 202}
    assert "late" in ids()


@SERVERS
def test_lone_and_concurrent_requests_take_turns_and_lose_nothing(send):
    sent, lock = [], threading.Lock()

    def run(name):
        for number in range(60):
            signal_id = f"{name}-{number}"
            assert send(wire(signal_id), wire("first")).status_code == 202
            with lock:
                sent.append(signal_id)

    run("alone")
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(run, "abc"))
    assert ids() == {"first", "second", *sent}
    positions = TradingSignal.objects.values_list("position", flat=True)
    assert len(set(positions)) == len(sent) + 2
    assert Sighting.objects.get().times == len(sent)
