"""The webhook as the real server speaks it, on a real socket."""

import hashlib
import hmac
import json
import socket
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit

import pytest
import requests
import standardwebhooks
from django.db import connection

from aggregator.models import DeadLetter, TradingSignal
from ecosystems.signal import Signal
from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.servers import WEBHOOK_SECRET, eventually

pytestmark = pytest.mark.django_db(transaction=True)

PROTECTION = {
    "strict-transport-security",
    "x-content-type-options",
    "referrer-policy",
    "cross-origin-opener-policy",
    "x-frame-options",
}


def speak(url, *parts, then_hang_up=False):
    """Send the bytes over a new connection; return the status, headers and body that come back."""
    address = urlsplit(url)
    with closing(socket.create_connection((address.hostname, address.port), timeout=60)) as connection:
        for part in parts:
            connection.sendall(part)
        if then_hang_up:
            return None
        with connection.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            headers = dict(
                line.decode("latin-1").rstrip().lower().split(": ", 1)
                for line in iter(stream.readline, b"\r\n")
            )
            return status, headers, stream.read(int(headers.get("content-length", 0)))


def request(body, headers=(), *, length=True, version="1.1"):
    """The bytes of a signed request."""
    lines = {"Host": "localhost", "Content-Type": "application/json"} | standard(body) | dict(headers)
    if length:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST /api/signals HTTP/{version}\r\n{head}\r\n".encode("latin-1")


def to_dict(signal_id):
    """A signal as the first generation of agents holds it."""
    return {
        "signal_id": signal_id,
        "ecosystem": "crypto",
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678901).isoformat(),  # noqa: DTZ001 - that is how they do it
        "symbol": "BTC/USDT",
        "action": "BUY",
        "signal_type": "ANALYTICS",
        "entry_price": Decimal("64000.5"),
        "stop_loss": None,
        "take_profit": None,
        "volume": 1.25,
        "confidence": 0.9,
        "agent_source": "whale_agent",
        "tags": ["whale"],
        "raw_payload": {"seen": datetime(2026, 1, 2, 3, 4)},  # noqa: DTZ001
    }


def test_the_old_agents_requests_are_recorded_unchanged(shared_hub):
    url = shared_hub()
    body = json.dumps(to_dict("whale:0x1"), default=str)
    answer = requests.post(
        f"{url}/api/signals",
        data=body,
        headers={
            "Content-Type": "application/json",
            "X-Signal-Id": "whale:0x1",
            "X-Ecosystem": "crypto",
            "X-Topic": "whale_rankings",
            "X-Signature": hmac.new(WEBHOOK_SECRET.encode(), body.encode(), hashlib.sha256).hexdigest(),
        },
        timeout=60,
    )
    assert (answer.status_code, answer.json()["status"]) == (202, "accepted")
    row = TradingSignal.objects.get()
    kept = {name: getattr(row, name) for name in to_dict("")}
    assert kept == to_dict("whale:0x1") | {
        "timestamp": datetime.fromisoformat("2026-01-02T03:04:05.678901+00:00"),
        "raw_payload": {"seen": "2026-01-02 03:04:00"},
    }
    assert set(kept) | {"refers_to"} == set(Signal.__struct_fields__)


def test_an_independent_client_is_understood(shared_hub):
    url = shared_hub()
    body, now = json.dumps(wire()), datetime.now().astimezone()
    answer = requests.post(
        f"{url}/api/signals",
        data=body,
        headers={
            "Content-Type": "application/json",
            "webhook-id": "msg_1",
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": standardwebhooks.Webhook(WEBHOOK_SECRET).sign("msg_1", now, body),
        },
        timeout=60,
    )
    assert answer.status_code == 202


def test_whatever_comes_over_the_wire_the_server_answers_and_goes_on(shared_hub):
    url = shared_hub()
    body = as_bytes(wire())
    chunked = {"Transfer-Encoding": "chunked"}
    chunks = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)

    status, headers, said = speak(url, request(body, chunked, length=False), chunks)
    assert (status, headers["content-type"]) == (411, "application/problem+json")
    assert json.loads(said)["code"] == "length_required"

    huge = request(b"", {"Content-Length": "2000000000"}, length=False)
    assert speak(url, huge)[0] == 413  # without a byte of the body

    for head in (
        request(body, {"X-Padding": "x" * 1_000_000}),
        request(body, {f"X-{number}": "x" for number in range(500)}),
        request(body, {"Content-Length": "-1"}, length=False),
        request(body, {"Content-Length": "5\r\nContent-Length: 6"}, length=False),
        request(body, {"webhook-id": "a\0b"}),
        request(body).replace(b"/api/signals", b"/api/signals%00"),
        request(body).replace(b"/api/signals", b"/api/\xff"),
        request(body, {"Host": "evil.example"}),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ):
        try:
            status = speak(url, head, body)[0]
        except (ConnectionError, IndexError):
            continue  # hung up on: that is an answer too
        assert 400 <= status < 500, head[:200]

    speak(url, request(body)[:50], then_hang_up=True)
    speak(url, request(body), body[:10], then_hang_up=True)
    assert speak(url, request(body, version="1.0"), body)[0] == 202
    assert speak(url, request(body), body[:10], body[10:])[0] == 200
    assert TradingSignal.objects.count() == 1
    assert not DeadLetter.objects.exists()


def test_the_hub_answers_after_the_commit_alone(shared_hub):
    url = shared_hub()
    for number in range(20):
        body = as_bytes(wire(f"s-{number}"))
        assert speak(url, request(body), body)[0] == 202
        assert TradingSignal.objects.filter(signal_id=f"s-{number}").exists()


def test_a_key_of_the_environment_is_then_required(live_hub):
    url = live_hub(CORE_API_KEYS="scout:hunter2|spare:hunter3")
    body = as_bytes(wire())
    assert speak(url, request(body), body)[0] == 401
    assert speak(url, request(body, {"Authorization": "Bearer hunter3"}), body)[0] == 202


def test_the_public_address_is_allowed_as_host_and_no_other(live_hub):
    url = live_hub(
        AGG_SIGNAL_ENDPOINT="https://hub.example/api/signals",
        DJANGO_ALLOWED_HOSTS="",
        CORE_TRUSTED_PROXIES="127.0.0.1/32",
    )
    body = as_bytes(wire())
    assert speak(url, request(body, {"Host": "hub.example"}), body)[0] == 202
    status, headers, _ = speak(url, request(body, {"Host": "other.example"}), body)
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    # Before Django, the webhook protects its answers as Django's middleware does, over TLS and without.
    for forwarded in ({}, {"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}):
        protected = [
            {name.lower(): value for name, value in answer.headers.items() if name.lower() in PROTECTION}
            for answer in (
                requests.post(f"{url}/api/signals", timeout=60, headers=forwarded),
                requests.get(f"{url}/api/signals", timeout=60, headers=forwarded),
            )
        ]
        assert protected[0] == protected[1]
        assert (protected[0].keys() == PROTECTION) is ("https" in forwarded.values())


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://[2001:db8::1]:8443/api/signals", "[2001:db8::1]:8443"),
        ("https://b\u00fccher.example/api/signals", "xn--bcher-kva.example"),
        ("https://HUB.example./api/signals", "hub.example."),
    ],
)
def test_however_the_public_address_is_written(live_hub, endpoint, host):
    url = live_hub(AGG_SIGNAL_ENDPOINT=endpoint, DJANGO_ALLOWED_HOSTS="")
    body = as_bytes(wire())
    assert speak(url, request(body, {"Host": host}), body)[0] == 202


def test_while_postgres_is_down_the_server_says_so_and_recovers(live_hub, postgres_server):
    url = live_hub()
    body = as_bytes(wire())
    assert speak(url, request(body), body)[0] == 202
    postgres_server.stop()
    status, headers, _ = speak(url, request(body), body)
    assert status == 503
    assert int(headers["retry-after"]) >= 1
    for path in ("/admin/", "/admin/login/", "/account/sign-in"):  # the last is not the operator's
        shown = requests.get(f"{url}{path}", timeout=60, cookies={"sessionid": "x" * 32})
        assert shown.status_code == 503, path
        assert "The core database does not answer" in shown.text
    postgres_server.start()
    assert eventually(lambda: requests.get(f"{url}/admin/login/", timeout=60).status_code == 200)
    assert eventually(lambda: speak(url, request(body), body)[0] == 200)
    connection.close()  # this one did not outlive the server
    assert not DeadLetter.objects.exists()
