"""The request to a customer's URL: to the checked address and nowhere else, bounded in time and size."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from contextlib import suppress

import pytest
import trustme

from aggregator.http.ssrf import Guard, Refused, Target
from commerce.webhooks import http_client
from tests.commerce.webhooks.receiver import Answering, Received, receiver
from tests.resolving import HERE, Names


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def test_tls_goes_to_the_checked_address_with_the_names_of_the_url(authority, connects):
    names = Names(["127.0.0.2"])
    with receiver("127.0.0.2", server_tls(authority, "customer.example")) as server:
        url = f"https://customer.example:{server.port}/hook?a=1"
        target = Guard(networks=(HERE,), resolve=names).check(url)
        answer = http_client.post(target, b"{}", {"X-Test": "1"}, tls=client_tls(authority))
        assert (answer.status, answer.excerpt, answer.error) == (200, "ok", "")
        assert server.server_names == ["customer.example"]
        [received] = server.received
        assert received.headers["host"] == f"customer.example:{server.port}"
        assert (received.path, received.body, received.headers["x-test"]) == ("/hook?a=1", b"{}", "1")
        assert connects == [("127.0.0.2", server.port)]
    assert names.asked == ["customer.example"]


def test_a_certificate_for_another_name_or_of_another_authority_is_refused(authority):
    with receiver("127.0.0.2", server_tls(authority, "other.example")) as server:
        guard = Guard(networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"https://customer.example:{server.port}/")
        for tls in (client_tls(authority), http_client.trust()):
            answer = http_client.post(target, b"{}", {}, tls=tls)
            assert answer.status == 0
            assert answer.error.startswith("certificate: ")
        assert server.received == []


def test_a_name_server_that_changes_its_answer_gains_nothing(authority, connects, free_port):
    """Rebinding: good when asked first, loopback when asked again."""
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    tls = server_tls(authority, "customer.example")
    with receiver("127.0.0.2", tls, free_port) as good, receiver("127.0.0.1", port=free_port) as inside:
        guard = Guard(networks=(HERE,), resolve=names)
        url = f"https://customer.example:{good.port}/"
        target = guard.check(url)
        assert http_client.post(target, b"{}", {}, tls=client_tls(authority)).status == 200
        assert names.asked == ["customer.example"]
        with pytest.raises(Refused):
            guard.check(url)
        assert inside.connections == 0
        assert connects == [("127.0.0.2", good.port)]


@pytest.mark.parametrize("interim", ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </a>"])
def test_an_interim_response_is_not_the_answer(interim):
    with socket.create_server(("127.0.0.2", 0)) as server:
        server.settimeout(60)

        def answer() -> None:
            connected, _ = server.accept()
            with connected:
                connected.recv(65536)
                connected.sendall(f"HTTP/1.1 {interim}\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n".encode())

        threading.Thread(target=answer, daemon=True).start()
        target = Target("http", "127.0.0.2", server.getsockname()[1], "/", ("127.0.0.2",))
        assert http_client.post(target, b"{}", {}).status == 204


def test_the_next_address_is_tried_when_one_does_not_answer(free_port):
    networks = (HERE, ipaddress.ip_network("127.0.0.3/32"))
    with receiver("127.0.0.3", port=free_port) as server:
        guard = Guard(http=True, networks=networks, resolve=Names(["127.0.0.2", "127.0.0.3"]))
        assert http_client.post(guard.check(f"http://customer.example:{free_port}/"), b"", {}).status == 200
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status, connects):
    with receiver("127.0.0.2") as server, receiver("127.0.0.1") as inside:
        server.answer = lambda _: Answering(status, {"Location": inside.url()})
        answer = http_client.post(plain(server), b"{}", {})
        assert (answer.status, answer.ok) == (status, False)
        assert inside.connections == 0
        assert connects == [("127.0.0.2", server.port)]


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with receiver("127.0.0.2") as server, receiver("127.0.0.1") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert http_client.post(plain(server), b"{}", {}).status == 200
        assert proxy.connections == 0


def test_an_answer_that_drips_ends_at_the_deadline():
    """Each byte comes in time; the whole would take for ever."""
    stop = threading.Event()

    def drip(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not stop.wait(0.05):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    with socket.create_server(("127.0.0.2", 0)) as listener:
        thread = threading.Thread(target=_quietly, args=(drip, listener), daemon=True)
        thread.start()
        guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"http://customer.example:{listener.getsockname()[1]}/")
        started = time.monotonic()
        answer = http_client.post(target, b"{}", {}, timeout_s=0.6)
        assert (answer.status, answer.error) == (0, "timeout")
        assert time.monotonic() - started < 60
        stop.set()
        thread.join(5)


def test_informational_responses_before_the_final_one_are_no_failure():
    def speak(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while not connection.recv(4096).endswith(b"{}"):
                pass
            early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" + early)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with socket.create_server(("127.0.0.2", 0)) as listener:
        thread = threading.Thread(target=_quietly, args=(speak, listener), daemon=True)
        thread.start()
        guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"http://customer.example:{listener.getsockname()[1]}/")
        answer = http_client.post(target, b"{}", {})
        assert (answer.status, answer.excerpt, answer.error) == (200, "ok", "")
        thread.join(5)


@pytest.mark.parametrize("path", ["/a/../b?x=%7b{}", "/?", "/%2F"])
def test_the_path_is_requested_as_it_was_written(path):
    with receiver("127.0.0.2") as server:
        guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"http://customer.example:{server.port}{path}")
        assert http_client.post(target, b"{}", {}).ok
        assert server.received[0].path == target.path


@pytest.mark.parametrize(
    ("host", "written"), [("customer.example", "customer.example"), ("2001:db8::1", "[2001:db8::1]")]
)
def test_the_host_is_named_as_in_a_url(host, written):
    with receiver("127.0.0.2") as server:
        target = Target("http", host, server.port, "/", ("127.0.0.2",))
        assert http_client.post(target, b"{}", {}).ok
        assert server.received[0].headers["host"] == f"{written}:{server.port}"


def test_a_handshake_that_never_comes_ends_at_the_deadline():
    with socket.create_server(("127.0.0.2", 0)) as listener:
        guard = Guard(networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"https://customer.example:{listener.getsockname()[1]}/")
        answer = http_client.post(target, b"{}", {}, timeout_s=0.4)
        assert (answer.status, answer.error) == (0, "timeout")


def test_no_more_of_an_answer_is_kept_than_an_excerpt():
    with receiver("127.0.0.2") as server:
        server.answer = lambda _: Answering(500, body=b"\x00\xff" + b"a" * 5_000_000)
        answer = http_client.post(plain(server), b"{}", {})
        assert answer.status == 500
        assert answer.excerpt.startswith("\ufffd\ufffda")
        assert len(answer.excerpt) == http_client.MAX_EXCERPT_BYTES


def test_what_is_no_http_is_a_failure_and_no_crash():
    with socket.create_server(("127.0.0.2", 0)) as listener:

        def speak(listener: socket.socket) -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"+PONG\r\n")

        thread = threading.Thread(target=_quietly, args=(speak, listener), daemon=True)
        thread.start()
        guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
        answer = http_client.post(
            guard.check(f"http://customer.example:{listener.getsockname()[1]}/"), b"", {}
        )
        assert (answer.status, answer.error) == (0, "not an HTTP response")
        thread.join(5)


def test_nobody_listening_is_a_failure(free_port):
    guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
    answer = http_client.post(guard.check(f"http://customer.example:{free_port}/"), b"", {})
    assert (answer.status, answer.error) == (0, "connection refused")


@pytest.mark.parametrize(("value", "seconds"), [("120", 120), ("999999999", 86_400), ("soon", None)])
def test_retry_after_is_returned_up_to_a_day(value, seconds):
    with receiver("127.0.0.2") as server:
        server.answer = lambda _: Answering(503, {"Retry-After": value})
        assert http_client.post(plain(server), b"{}", {}).retry_after_s == seconds


def plain(server):
    guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
    return guard.check(f"http://customer.example:{server.port}/hook")


def _quietly(act, listener) -> None:
    with suppress(OSError):
        act(listener)


def test_the_receiver_of_these_tests_keeps_what_it_is_sent():
    with receiver("127.0.0.2") as server:
        http_client.post(plain(server), b"abc", {"webhook-id": "msg_1"})
        [received] = server.received
        assert isinstance(received, Received)
        assert (received.body, received.headers["webhook-id"]) == (b"abc", "msg_1")
