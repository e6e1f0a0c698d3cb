"""GET /api/v1/stream, from a real process"""

import itertools
import socket
from datetime import timedelta
from uuid import uuid4

import psutil
import pytest
import requests
from django.conf import settings
from django.db import connection
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.models import ApiKey
from commerce.entitlements import Scope
from commerce.feed import Filters, cursors
from commerce.ledger_window import Place, frontiers
from commerce.models import Plan, StreamSlot, Subscription
from commerce.streaming import broadcaster
from commerce.streaming.broadcaster import NO_DELAY
from tests.commerce.feed.reading import Reader, grant, pass_time, record
from tests.commerce.streaming.stream_client import EventSource, eventually, granian, stream_process
from tests.servers import free_port, serve

__all__ = ["stream_process"]
pytestmark = pytest.mark.django_db(transaction=True)
START = cursors.encode(0)


@pytest.fixture(scope="module")
def url(run_shared):
    """Of one process for all tests that do not end it."""
    return serve(run_shared, granian, free_port())


def ids(events):
    return [event.data["signal_id"] for event in events]


def test_it_sends_what_is_recorded_from_now_on(url):
    record("before")
    source = EventSource(url, grant().value)
    assert source.status == 200
    assert source.response.headers["Content-Type"] == "text/event-stream"
    source.wait_for_id()
    record("a", "b")
    events = source.take(2)
    assert ids(events) == ["a", "b"]
    assert [event.kind for event in events] == ["signal", "signal"]
    assert [event.id for event in events] == [event.data["cursor"] for event in events]


def test_it_goes_on_from_a_cursor_of_rest_and_rest_from_its(url):
    record("a", "b", "c")
    given = grant()
    someone = Reader(given.value)
    after = someone.page(limit=1)["next"]
    source = EventSource(url, given.value, query=f"?after={after}")
    assert ids(source.take(1)) == ["b"]
    assert someone.ids(after=source.last_event_id) == ["c"]


def test_last_event_id_wins(url):
    record("a", "b", "c")
    given = grant()
    second = Reader(given.value).page(limit=2)["next"]
    assert ids(EventSource(url, given.value, second, f"?after={START}").take(1)) == ["c"]


def test_its_signals_are_those_of_rest(url):
    record("a", entry_price="1.50", raw_payload={"x": 1})
    given = grant(payload=True)
    event = EventSource(url, given.value, START).take(1)[0]
    assert event.data == Reader(given.value).page()["signals"][0]


def test_filters_and_the_plan_hold_here_too(url):
    record("a")
    record("b", symbol="ETHUSDT")
    record("c", symbol="ETHUSDT", action="SELL")
    record("d", ecosystem="stock", symbol="AAPL")
    given = grant(instruments=["ETH/*", "AAPL"])
    assert ids(EventSource(url, given.value, START).take(3)) == ["b", "c", "d"]
    assert ids(EventSource(url, given.value, START, "?action=SELL").take(1)) == ["c"]


def test_a_filtered_reader_learns_how_far_it_is(url):
    given = grant()
    source = EventSource(url, given.value, START, "?action=SELL")
    first = source.wait_for_id()
    record("a")
    assert source.wait_for_id() != first
    assert Reader(given.value).ids(after=source.last_event_id) == []


def test_a_delayed_plan_waits_for_its_time(url):
    given = grant(delay=timedelta(minutes=15))
    record("a")
    pass_time(timedelta(minutes=16))
    record("b")
    source = EventSource(url, given.value, START)
    events = iter(source)
    assert next(events).data["signal_id"] == "a"
    pass_time(timedelta(minutes=16))
    assert next(events).data["signal_id"] == "b"


@pytest.mark.parametrize("change", ["revoked", "expired", "scope", "subscription", "plan"])
def test_a_stream_ends_when_its_right_does(url, change):
    given = grant()
    source = EventSource(url, given.value)
    source.wait_for_id()
    if change == "revoked":
        api_keys.auth_manager(settings.ENVIRONMENT).revoke(given.key)
    elif change == "expired":
        ApiKey.objects.update(expires_at="2026-01-01T00:00Z")
    elif change == "scope":
        ApiKey.objects.update(scopes=["publish"])
    elif change == "subscription":
        Subscription.objects.update(state="cancelled")
    else:
        Plan.objects.update(streams=0)
    events = list(source)
    assert [event.kind for event in events] == ["end"]
    assert events[0].data["status"] == (401 if change in {"revoked", "expired", "scope"} else 403)
    assert eventually(lambda: not StreamSlot.objects.exists())


def test_a_narrower_plan_counts_at_once(url):
    given = grant()
    source = EventSource(url, given.value, START)
    record("a")
    events = iter(source)
    assert next(events).data["signal_id"] == "a"
    Plan.objects.update(ecosystems=["stock"])
    marks = itertools.count()

    def hidden_is_left_out():
        mark = next(marks)
        record(f"hidden-{mark}")
        record(f"shown-{mark}", ecosystem="stock", symbol="AAPL")
        seen = list(itertools.takewhile(lambda name: name != f"shown-{mark}", names))
        return f"hidden-{mark}" not in seen

    names = (event.data["signal_id"] for event in events)
    eventually(hidden_is_left_out)


def test_the_signal_limit_ends_it_and_its_cursor_is_right(url):
    record("a", "b", "c")
    given = grant(signals_per_day=2)
    source = EventSource(url, given.value, START)
    events = list(source)
    assert ids(events[:2]) == ["a", "b"]
    assert events[2].kind == "end"
    assert events[2].data["code"] == "signals_used_up"
    assert source.last_event_id == events[1].id
    again = EventSource(url, given.value, source.last_event_id)
    assert again.status == 429
    assert int(again.response.headers["Retry-After"]) > 0


def test_no_more_streams_than_the_plan_has(url):
    given = grant(streams=2)
    open_ = [EventSource(url, given.value) for _ in range(2)]
    third = EventSource(url, given.value)
    assert third.status == 429
    assert third.problem()["code"] == "too_many_streams"
    open_.pop(0).close()
    open_.append(eventually(lambda: (again := EventSource(url, given.value)).status == 200 and again))
    Plan.objects.update(streams=1)
    assert [event.data["code"] for event in open_[1]] == ["too_many_streams"], "the newest has to go"
    record("a")
    assert ids(open_[0].take(1)) == ["a"]


def test_a_slot_that_is_lost_in_an_outage_is_acquired_again_or_the_stream_ends(url):
    """As when another process clears away what was not renewed for a minute."""
    given = grant(streams=1)
    source = EventSource(url, given.value)
    source.wait_for_id()
    StreamSlot.objects.all().delete()
    slot = eventually(lambda: StreamSlot.objects.first())
    slot.pk = uuid4()
    slot.process = uuid4()
    StreamSlot.objects.all().delete()
    slot.save(force_insert=True)
    assert [event.data["code"] for event in source] == ["too_many_streams"]


def test_a_slot_of_a_process_that_died_is_free_again(stream_process):
    url, program = stream_process()
    given = grant(streams=1)
    assert EventSource(url, given.value).status == 200
    program.kill()
    StreamSlot.objects.update(renewed_at="2026-01-01T00:00Z")
    url, _ = stream_process()
    assert EventSource(url, given.value).status == 200


def test_a_slot_that_was_not_released_is_free_again_while_the_process_lives(url):
    """As when the database was away at the moment a stream ended."""
    given = grant(streams=5)
    source = EventSource(url, given.value)
    source.wait_for_id()
    open_ = StreamSlot.objects.get()
    StreamSlot.objects.create(
        id=uuid4(), customer=open_.customer, process=open_.process, renewed_at=timezone.now()
    )
    StreamSlot.objects.update(renewed_at="2026-01-01T00:00Z")
    assert eventually(lambda: StreamSlot.objects.filter(renewed_at__gt="2026-01-02T00:00Z").exists())
    assert eventually(lambda: list(StreamSlot.objects.all()) == [open_])


@pytest.mark.parametrize(
    ("headers", "query", "status"),
    [
        ({}, "", 401),
        ({"X-API-Key": "shk_x"}, "", 401),
        ({"key": "valid", "Last-Event-ID": "x"}, "", 400),
        ({"key": "valid"}, "?after=x", 400),
        ({"key": "valid"}, "?ecosystem=bonds", 400),
    ],
)
def test_a_refused_client_gets_a_problem(url, headers, query, status):
    key = headers.pop("key", None)
    if key:
        headers["Authorization"] = f"Bearer {grant().value}"
    response = requests.get(f"{url}/api/v1/stream{query}", headers=headers, timeout=60)
    assert response.status_code == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert not StreamSlot.objects.exists()


def test_no_key_that_lost_its_right_opens_one(url):
    given = grant()
    key, subscription = ApiKey.objects.filter(pk=given.key.pk), Subscription.objects
    for rows, fields, status in (
        (key, {"expires_at": "2026-01-01T00:00Z"}, 401),
        (key, {"expires_at": None, "revoked_at": "2026-01-01T00:00Z"}, 401),
        (key, {"revoked_at": None, "scopes": []}, 403),
        (key, {"scopes": ["publish"]}, 403),
        (key, {"scopes": ["read"], "previous_digest": None}, 200),
        (subscription, {"state": "past_due"}, 403),
        (subscription, {"grace_until": timezone.now() + timedelta(days=1)}, 200),
        (subscription, {"state": "cancelled"}, 403),
    ):
        rows.update(**fields)
        source = EventSource(url, given.value)
        assert source.status == status, fields
        source.close()
    in_the_query = requests.get(f"{url}/api/v1/stream?key={given.value}&api_key={given.value}", timeout=60)
    assert in_the_query.status_code == 401


def test_a_plan_without_streams_has_none(url):
    source = EventSource(url, grant(streams=0).value)
    assert source.status == 403
    assert source.problem()["code"] == "streams_not_included"


def test_other_methods_are_a_405(url):
    assert requests.post(f"{url}/api/v1/stream", timeout=60).status_code == 405


def test_a_page_of_another_origin_may_follow_it(url):
    origin = {"Origin": "https://app.example"}
    asked = origin | {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization, last-event-id",
    }
    preflight = requests.options(f"{url}/api/v1/stream", headers=asked, timeout=60)
    refused = requests.get(f"{url}/api/v1/stream", headers=origin, timeout=60)
    key = {"Authorization": f"Bearer {grant().value}"}
    with requests.get(f"{url}/api/v1/stream", headers=origin | key, stream=True, timeout=60) as opened:
        assert [preflight.status_code, refused.status_code, opened.status_code] == [200, 401, 200]
        for answer in (preflight, refused, opened):
            assert answer.headers["Access-Control-Allow-Origin"] == "*"


def test_the_rest_of_the_api_is_served_beside_it(url):
    response = requests.get(f"{url}/api/v1/me", headers={"X-API-Key": grant().value}, timeout=60)
    assert response.status_code == 200


def test_the_ordinary_web_process_says_that_it_serves_no_streams():
    response = Reader(grant().value).get("stream")
    assert response.status_code == 421


def test_it_stops_on_sigterm_with_streams_open(stream_process):
    url, program = stream_process()
    source = EventSource(url, grant().value)
    source.wait_for_id()
    assert program.stop() == 0
    assert [event.data["code"] for event in source] == ["stopping"]


def test_an_outage_is_waited_out(stream_process, postgres_server):
    url, _ = stream_process()
    source = EventSource(url, grant().value)
    source.wait_for_id()
    postgres_server.stop()
    postgres_server.start()
    connection.close()
    eventually(lambda: record("after") or True)
    assert ids(source.take(1)) == ["after"]


def test_a_page_of_large_signals_is_short_and_the_next_goes_on_behind_it():
    names = [f"s{number}" for number in range(20)]
    record(*names, raw_payload={"x": "y" * 60_000})
    place, frontier, pages = Place(0, 0), frontiers([NO_DELAY])[NO_DELAY], []
    while (batch := broadcaster.read_events(Scope(payload=True), Filters(), place, frontier)).events:
        pages.append(batch.events)
        place = batch.place
    assert max(sum(len(event) for _, event in page) for page in pages) < broadcaster.MAX_PAGE_BYTES + 65_536
    sent = b"".join(event for page in pages for _, event in page)
    assert [sent.count(f'"signal_id":"{name}"'.encode()) for name in names] == [1] * 20


def test_a_reader_that_does_not_read_takes_bounded_memory(stream_process):
    url, program = stream_process()
    given = grant()
    for batch in range(10):
        record(*(f"{batch}-{number}" for number in range(500)), tags=["x" * 60] * 30)
    slow = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    head = ["GET /api/v1/stream HTTP/1.1", "Host: x", f"X-API-Key: {given.value}", f"Last-Event-ID: {START}"]
    slow.sendall("\r\n".join([*head, "", ""]).encode())
    worker = psutil.Process(program.process.pid).children()[0]
    # A second reader reads all 12 MB at the same time and is not delayed.
    events = EventSource(url, given.value, START).take(5000)
    assert len(set(ids(events))) == 5000
    assert Reader(given.value).get("usage").json()["signals"]["used"] < 5000 + 5000
    assert worker.memory_info().rss < 400e6
    slow.close()
