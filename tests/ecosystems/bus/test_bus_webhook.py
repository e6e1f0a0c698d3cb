from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pytest
import standardwebhooks

from ecosystems.bus import EventBus, Unsent, Unsupported
from ecosystems.bus import webhook as module
from ecosystems.bus.webhook import WebhookTransport
from ecosystems.http_errors import retry_after
from ecosystems.signal import parse
from tests.ecosystems.bus.receiver import Answer, Receiver, accepted, problem
from tests.ecosystems.examples import a_signal, signals

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def hub() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


@pytest.fixture
def bus(hub: Receiver) -> Iterator[EventBus]:
    with EventBus([WebhookTransport(hub.url, SECRET, api_key="key-value")]) as bus:
        yield bus


def test_one_signal_travels_as_an_object_that_an_independent_verifier_accepts(hub, bus):
    receipt = bus.publish(a_signal())

    assert receipt.confirmed == 1
    assert receipt.complete
    (request,) = hub.requests
    standardwebhooks.Webhook(SECRET).verify(request.body, request.headers)
    assert request.headers["authorization"] == "Bearer key-value"
    assert request.headers["content-type"] == "application/json"
    assert parse(request.body) == a_signal()


def test_without_a_key_nothing_is_sent_for_one_not_even_from_netrc(hub, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with EventBus([WebhookTransport(hub.url, SECRET)]) as bus:
        bus.publish(a_signal())

    assert "authorization" not in hub.requests[0].headers


def test_batches_respect_both_limits_and_share_a_connection(hub):
    size = len(a_signal("s-000").to_json())
    many = [a_signal(f"s-{number:03}") for number in range(25)]
    with EventBus([WebhookTransport(hub.url, SECRET, max_signals=10)]) as bus:
        assert bus.publish_many(many).confirmed == 25
    assert [len(request.signals) for request in hub.requests] == [10, 10, 5]
    assert len({request.connection for request in hub.requests}) == 1

    hub.requests.clear()
    with EventBus([WebhookTransport(hub.url, SECRET, max_bytes=3 * size + 4)]) as bus:
        bus.publish_many(many)
    assert [len(request.signals) for request in hub.requests] == [3] * 8 + [1]
    assert max(len(request.body) for request in hub.requests) == 3 * size + 4
    assert hub.ids == [signal.signal_id for signal in many]


def test_a_batch_that_is_sent_again_keeps_its_message_id(hub, bus):
    hub.script.append(problem(503, "unavailable", "later"))
    with pytest.raises(Unsent) as caught:
        bus.publish_many(signals(2))
    bus.publish_many(caught.value.receipt.pending)

    first, second = hub.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


def test_signals_that_the_hub_rejects_are_parked_and_their_neighbours_confirmed(hub, bus):
    rejected = {"index": 1, "signal_id": "s-1", "code": "conflict", "detail": "another content"}
    hub.script.append(accepted(3, rejected))

    with pytest.raises(Unsent, match="webhook refused crypto/s-1: conflict: another content") as caught:
        bus.publish_many(signals(3))

    receipt = caught.value.receipt
    assert receipt.confirmed == 2
    assert not receipt.pending
    assert [(refused.signal.signal_id, refused.code) for refused in receipt.refused] == [("s-1", "conflict")]


def test_duplicates_are_confirmed(hub, bus):
    hub.script.append(Answer(200, b'{"status":"duplicate","accepted":0,"duplicates":1,"rejected":[]}'))
    assert bus.publish(a_signal()).confirmed == 1


def test_the_answer_of_a_first_generation_receiver_is_a_confirmation(hub, bus):
    hub.script.append(Answer(202, b'{"status":"accepted"}'))
    assert bus.publish(a_signal()).confirmed == 1


def test_each_signal_of_an_unprocessable_batch_gets_its_own_reason(hub, bus):
    errors: list[dict[str, Any]] = [
        {"index": 0, "field": "symbol", "code": "invalid_value", "detail": "first"},
        {"index": 1, "field": "symbol", "code": "invalid_value", "detail": "second"},
        {"index": 1, "field": None, "code": "unknown_ecosystem", "detail": "third"},
    ]
    hub.script.append(problem(422, "invalid", "No signal is valid.", *errors))

    with pytest.raises(Unsent) as caught:
        bus.publish_many(signals(3))

    details = [refused.detail for refused in caught.value.receipt.refused]
    assert details == ["first", "second; third", "No signal is valid."]


@pytest.mark.parametrize("status", [400, 401, 403, 409, 411, 413, 415, 422])
def test_a_refusal_parks_with_the_hubs_words_and_does_not_block_what_follows(hub, bus, status):
    hub.script.append(problem(status, "some_code", "The hub's words."))

    with pytest.raises(Unsent, match=r"some_code: The hub's words\.") as caught:
        bus.publish(a_signal())

    assert len(caught.value.receipt.refused) == 1
    assert bus.publish(a_signal("s-2")).confirmed == 1


@pytest.mark.parametrize("status", [204, 301, 302, 404, 405, 408, 429, 500, 502, 503, 504])
def test_everything_else_is_left_to_another_try(hub, bus, status):
    hub.script.append(Answer(status, b"<html>", {"Location": "/elsewhere", "Retry-After": "7"}))

    with pytest.raises(Unsent, match=f"did not confirm 2 signals: the hub answered {status}") as caught:
        bus.publish_many(signals(2))

    assert [signal.signal_id for signal in caught.value.receipt.pending] == ["s-0", "s-1"]
    assert caught.value.receipt.deliveries[0].after == 7
    assert len(hub.requests) == 1


def test_a_page_of_another_server_confirms_nothing(hub, bus):
    hub.script.append(Answer(200, b"<html>Please log in</html>"))
    with pytest.raises(Unsent, match="a server that is not a hub"):
        bus.publish(a_signal())


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_of_any_depth_leaves_signals_to_another_try(hub, bus, status):
    hub.script.append(Answer(status, b'{"status":"accepted","more":%b}' % (b"[" * 100_000 + b"]" * 100_000)))
    with pytest.raises(Unsent) as caught:
        bus.publish(a_signal())
    assert len(caught.value.receipt.pending) == 1


def test_after_an_outage_nothing_overtakes(hub):
    hub.script.extend([accepted(2), problem(503, "unavailable", "The disk is full.")])
    with (
        EventBus([WebhookTransport(hub.url, SECRET, max_signals=2)]) as bus,
        pytest.raises(Unsent, match=r"503: The disk is full\.") as caught,
    ):
        bus.publish_many(signals(6))

    assert [signal.signal_id for signal in caught.value.receipt.pending] == ["s-2", "s-3", "s-4", "s-5"]
    assert len(hub.requests) == 2


def test_a_batch_that_is_too_large_is_split_and_the_next_ones_are_smaller(hub, bus):
    limit = 5 * len(a_signal().to_json())
    small = hub.answer
    hub.answer = lambda received: (
        small(received) if len(received.body) <= limit else problem(413, "too_large", "Too large.")
    )
    assert bus.publish_many(signals(16)).confirmed == 16
    delivered = [request for request in hub.requests if len(request.body) <= limit]
    assert [signal["signal_id"] for request in delivered for signal in request.signals] == [
        f"s-{number}" for number in range(16)
    ]

    hub.requests.clear()
    bus.publish_many(signals(16))
    assert max(len(request.body) for request in hub.requests) <= limit


def test_a_hub_that_is_down_or_silent_is_named_in_one_line(free_port, hub, monkeypatch):
    with EventBus([WebhookTransport(f"http://127.0.0.1:{free_port}/x?token=t0ken", SECRET)]) as bus:
        with pytest.raises(
            Unsent, match="did not confirm 1 signal: no connection: Connection refused"
        ) as caught:
            bus.publish(a_signal())
        assert "t0ken" not in str(caught.value)

    monkeypatch.setattr(module, "WEBHOOK_READ_TIMEOUT_S", 0.05)
    hub.script.append(Answer(202, wait=(done := Event())))
    with (
        EventBus([WebhookTransport(hub.url, SECRET)]) as bus,
        pytest.raises(Unsent, match="no answer within"),
    ):
        bus.publish(a_signal())
    done.set()


def test_a_port_that_speaks_no_tls(hub):
    url = hub.url.replace("http:", "https:")
    with EventBus([WebhookTransport(url, SECRET)]) as bus, pytest.raises(Unsent, match="TLS failed"):
        bus.publish(a_signal())


def test_the_hubs_words_cannot_forge_log_lines(hub, bus):
    hub.script.append(problem(409, "con\nflict", "one\r\ntwo \x1b[31mred"))
    with pytest.raises(Unsent) as caught:
        bus.publish(a_signal())
    assert caught.value.receipt.refused[0].detail == "one two [31mred"


def test_a_webhook_has_no_subscribers(bus):
    with pytest.raises(Unsupported, match="webhook"):
        bus.subscribe(print)


NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 0 ", 0),
        ("Fri, 02 Jan 2026 03:04:35 GMT", 30),
        ("Fri, 02 Jan 2026 03:04:35 -0000", 30),
        ("Fri, 02 Jan 2026 03:00:00 GMT", 0),
        ("99999999999999999999", 3600),
        ((NOW + timedelta(days=9)).strftime("%a, %d %b %Y %H:%M:%S GMT"), 3600),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
        ("1.5", None),
        ("²", None),
        ("Fri, 02 Jan 99999999999999999999 03:04:05 GMT", None),
    ],
)
def test_retry_after(value, seconds):
    assert retry_after(value, NOW) == seconds
