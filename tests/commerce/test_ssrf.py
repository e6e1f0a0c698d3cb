"""Where the hub connects on a customer's behalf: every address family and trick, and the request itself."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import trustme

from commerce import outgoing
from commerce.ssrf import Guard, Refused, Unresolved, is_public
from tests.commerce.receiver import Answering, Received, receiver

HERE = ipaddress.ip_network("127.0.0.2/32")
"""Stands for a public address in tests: loopback too, but allowed by name."""


class Names:
    """A name server whose answers follow one another; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


_connects: list[tuple] = []
_watching = threading.Event()


def _audit(event: str, arguments: tuple) -> None:
    if event == "socket.connect" and _watching.is_set():
        _connects.append(arguments[1])


sys.addaudithook(_audit)


@pytest.fixture
def connects() -> Iterator[list[tuple]]:
    """The addresses of every socket that this process connects during the test."""
    _connects.clear()
    _watching.set()
    yield _connects
    _watching.clear()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


NOT_PUBLIC = {
    "this network": "0.0.0.0",  # noqa: S104
    "this network, not zero": "0.1.2.3",
    "private 10": "10.0.0.5",
    "private 172": "172.16.0.1",
    "private 172, last": "172.31.255.255",
    "private 192": "192.168.1.1",
    "loopback": "127.0.0.1",
    "loopback, not the first": "127.9.9.9",
    "link-local": "169.254.1.1",
    "metadata of AWS, GCP, Azure": "169.254.169.254",
    "metadata of Alibaba": "100.100.100.200",
    "metadata of Oracle": "192.0.0.192",
    "wire server of Azure": "168.63.129.16",
    "carrier-grade NAT": "100.64.0.1",
    "protocol assignments": "192.0.0.8",
    "documentation 1": "192.0.2.1",
    "documentation 2": "198.51.100.1",
    "documentation 3": "203.0.113.1",
    "6to4 relay": "192.88.99.1",
    "benchmarks": "198.18.0.1",
    "multicast": "224.0.0.1",
    "multicast, last": "239.255.255.255",
    "reserved": "240.0.0.1",
    "broadcast": "255.255.255.255",
    "unspecified v6": "::",
    "loopback v6": "::1",
    "mapped": "::ffff:8.8.8.8",
    "mapped loopback": "::ffff:127.0.0.1",
    "compatible": "::8.8.8.8",
    "translated": "::ffff:0:8.8.8.8",
    "NAT64": "64:ff9b::8.8.8.8",
    "NAT64, local": "64:ff9b:1::a00:1",
    "discard": "100::1",
    "Teredo": "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "ORCHID": "2001:20::1",
    "documentation v6": "2001:db8::1",
    "documentation v6, new": "3fff::1",
    "6to4": "2002:7f00:1::",
    "ISATAP": "2606:4700::5efe:10.0.0.1",
    "ISATAP, global": "2606:4700::200:5efe:10.0.0.1",
    "segment routing": "5f00::1",
    "unique local": "fd12:3456::1",
    "unique local, metadata of AWS": "fd00:ec2::254",
    "link-local v6": "fe80::1",
    "link-local with a zone": "fe80::1%eth0",
    "public with a zone": "2606:4700::1111%eth0",
    "site-local": "fec0::1",
    "multicast v6": "ff02::1",
}


@pytest.mark.parametrize("address", NOT_PUBLIC.values(), ids=NOT_PUBLIC.keys())
def test_an_address_that_is_not_public_unicast_is_refused(address, connects):
    assert not is_public(ipaddress.ip_address(address))
    with pytest.raises(Refused) as refused:
        Guard(resolve=Names([address])).check("https://customer.example/hook")
    assert refused.value.code == "address_not_public"
    assert address not in str(refused.value)
    assert connects == []


@pytest.mark.parametrize("address", ["8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00::1"])
def test_a_public_address_is_allowed(address):
    target = Guard(resolve=Names([address])).check("https://customer.example/hook?a=1")
    assert (target.addresses, target.path, target.port) == ((address,), "/hook?a=1", 443)


def test_one_bad_address_among_good_ones_refuses_the_host(connects):
    with pytest.raises(Refused):
        Guard(resolve=Names(["8.8.8.8", "2606:4700::1111", "10.0.0.1"])).check("https://customer.example/")
    assert connects == []


ODD_URLS = {
    "plain http": ("http://customer.example/", "not_https"),
    "another scheme": ("gopher://customer.example/", "not_https"),
    "a file": ("file:///etc/passwd", "not_https"),
    "no scheme": ("customer.example/hook", "not_https"),
    "no host": ("https:///hook", "bad_url"),
    "user and password": ("https://user:secret@customer.example/", "credentials"),
    "user alone": ("https://customer.example@10.0.0.1/", "credentials"),
    "empty user": ("https://@customer.example/", "credentials"),
    "backslash": ("https://customer.example\\@10.0.0.1/", "bad_url"),
    "space": ("https://customer.example/a b", "bad_url"),
    "line end": ("https://customer.example/\r\nHost: inside", "bad_url"),
    "tab in the host": ("https://customer\t.example/", "bad_url"),
    "other alphabet": ("https://customer。example/", "bad_url"),
    "too long": ("https://customer.example/" + "a" * 2048, "bad_url"),
    "decimal address": ("https://2130706433/", "bad_host"),
    "octal address": ("https://0177.0.0.1/", "bad_host"),
    "octal loopback, padded": ("https://127.0.0.01/", "bad_host"),
    "hexadecimal address": ("https://0x7f000001/", "bad_host"),
    "hexadecimal parts": ("https://0x7f.0x0.0x0.0x1/", "bad_host"),
    "short address": ("https://127.1/", "bad_host"),
    "number at the end": ("https://customer.8/", "bad_host"),
    "loopback literal": ("https://127.0.0.1/", "address_not_public"),
    "loopback with a dot": ("https://127.0.0.1./", "address_not_public"),
    "v6 literal": ("https://[::1]/", "address_not_public"),
    "mapped literal": ("https://[::ffff:7f00:1]/", "address_not_public"),
    "broken v6": ("https://[::1/", "bad_url"),
    "future literal": ("https://[v1.fe80::a]/", "bad_host"),
    "single label": ("https://redis/", "bad_host"),
    "localhost": ("https://localhost/", "bad_host"),
    "empty label": ("https://customer..example/", "bad_host"),
    "percent in the host": ("https://127%2e0.0.1/", "bad_host"),
    "port of a database": ("https://customer.example:5432/", "bad_port"),
    "port of Redis": ("https://customer.example:6379/", "bad_port"),
    "port of SSH": ("https://customer.example:22/", "bad_port"),
    "port of mail": ("https://customer.example:25/", "bad_port"),
    "plain port": ("https://customer.example:80/", "bad_port"),
    "port zero": ("https://customer.example:0/", "bad_port"),
    "empty port": ("https://customer.example:/", "bad_port"),
    "port too large": ("https://customer.example:65536/", "bad_url"),
    "port in other digits": ("https://customer.example:\uff1443/", "bad_url"),
}


@pytest.mark.parametrize(("url", "code"), ODD_URLS.values(), ids=ODD_URLS.keys())
def test_an_odd_url_is_refused(url, code, connects):
    names = Names(["127.0.0.1"])
    with pytest.raises(Refused) as refused:
        Guard(resolve=names).check(url)
    assert refused.value.code == code
    assert connects == []
    assert names.asked == []


@pytest.mark.parametrize("url", ["https://customer.example:8443/", "https://customer.example:12345/x"])
def test_ports_that_receivers_use_are_allowed(url):
    assert Guard(resolve=Names(["8.8.8.8"])).check(url)


def test_a_name_in_a_number_or_an_underscore_is_a_name():
    for host in ("0x7f.example", "1and1.example", "my_hook.customer.example", "xn--bcher-kva.example"):
        assert Guard(resolve=Names(["8.8.8.8"])).check(f"https://{host}/").host == host


def test_http_only_where_it_is_allowed():
    assert Guard(http=True, resolve=Names(["8.8.8.8"])).check("http://customer.example/").port == 80


def test_a_host_without_an_address_is_no_refusal():
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such host")

    for resolve in (unknown, Names([])):
        with pytest.raises(Unresolved):
            Guard(resolve=resolve).check("https://customer.example/")


def test_the_guard_of_the_hub_follows_its_settings(settings):
    from commerce.ssrf import guard

    settings.DEBUG = False
    with pytest.raises(Refused, match="https"):
        guard().check("http://8.8.8.8/")
    settings.DEBUG = True
    assert guard().check("http://8.8.8.8/").addresses == ("8.8.8.8",)
    with pytest.raises(Refused):
        guard().check("http://127.0.0.1:8080/")


def test_the_system_resolver_knows_loopback_and_is_refused(connects):
    """The real look-up, of a name that every machine's hosts file has."""
    from commerce.ssrf import resolve

    assert set(resolve("localhost", 443)) <= {"127.0.0.1", "::1"}
    with pytest.raises(Refused):
        Guard(resolve=lambda _host, port: resolve("localhost", port)).check("https://customer.example/")


def test_tls_goes_to_the_checked_address_with_the_names_of_the_url(authority, connects):
    names = Names(["127.0.0.2"])
    with receiver("127.0.0.2", server_tls(authority, "customer.example")) as server:
        url = f"https://customer.example:{server.port}/hook?a=1"
        target = Guard(networks=(HERE,), resolve=names).check(url)
        answer = outgoing.post(target, b"{}", {"X-Test": "1"}, tls=client_tls(authority))
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
        for tls in (client_tls(authority), outgoing.trust()):
            answer = outgoing.post(target, b"{}", {}, tls=tls)
            assert answer.status == 0
            assert answer.error.startswith("certificate: ")
        assert server.received == []


def test_a_name_server_that_changes_its_answer_gains_nothing(authority, connects):
    """Rebinding: good when asked first, loopback when asked again."""
    names = Names(["127.0.0.2"], ["127.0.0.1"])
    tls = server_tls(authority, "customer.example")
    with receiver("127.0.0.2", tls) as good, receiver("127.0.0.1", port=good.port) as inside:
        guard = Guard(networks=(HERE,), resolve=names)
        url = f"https://customer.example:{good.port}/"
        target = guard.check(url)
        assert outgoing.post(target, b"{}", {}, tls=client_tls(authority)).status == 200
        assert names.asked == ["customer.example"]
        with pytest.raises(Refused):
            guard.check(url)
        assert inside.connections == 0
        assert connects == [("127.0.0.2", good.port)]


def test_the_next_address_is_tried_when_one_does_not_answer(free_port):
    networks = (HERE, ipaddress.ip_network("127.0.0.3/32"))
    with receiver("127.0.0.3", port=free_port) as server:
        guard = Guard(http=True, networks=networks, resolve=Names(["127.0.0.2", "127.0.0.3"]))
        assert outgoing.post(guard.check(f"http://customer.example:{free_port}/"), b"", {}).status == 200
        assert len(server.received) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_is_not_followed(status, connects):
    with receiver("127.0.0.2") as server, receiver("127.0.0.1") as inside:
        server.answer = lambda _: Answering(status, {"Location": inside.url()})
        answer = outgoing.post(plain(server), b"{}", {})
        assert (answer.status, answer.ok) == (status, False)
        assert inside.connections == 0
        assert connects == [("127.0.0.2", server.port)]


def test_proxies_of_the_environment_are_not_used(monkeypatch):
    with receiver("127.0.0.2") as server, receiver("127.0.0.1") as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url(""))
        assert outgoing.post(plain(server), b"{}", {}).status == 200
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
        answer = outgoing.post(target, b"{}", {}, timeout_s=0.6)
        assert (answer.status, answer.error) == (0, "timeout")
        assert time.monotonic() - started < 5
        stop.set()
        thread.join(5)


def test_a_handshake_that_never_comes_ends_at_the_deadline():
    with socket.create_server(("127.0.0.2", 0)) as listener:
        guard = Guard(networks=(HERE,), resolve=Names(["127.0.0.2"]))
        target = guard.check(f"https://customer.example:{listener.getsockname()[1]}/")
        answer = outgoing.post(target, b"{}", {}, timeout_s=0.4)
        assert (answer.status, answer.error) == (0, "timeout")


def test_no_more_of_an_answer_is_kept_than_an_excerpt():
    with receiver("127.0.0.2") as server:
        server.answer = lambda _: Answering(500, body=b"\x00\xff" + b"a" * 5_000_000)
        answer = outgoing.post(plain(server), b"{}", {})
        assert answer.status == 500
        assert answer.excerpt.startswith("\ufffd\ufffda")
        assert len(answer.excerpt) == outgoing.EXCERPT_BYTES


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
        answer = outgoing.post(guard.check(f"http://customer.example:{listener.getsockname()[1]}/"), b"", {})
        assert (answer.status, answer.error) == (0, "not an HTTP answer")
        thread.join(5)


def test_nobody_listening_is_a_failure(free_port):
    guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
    answer = outgoing.post(guard.check(f"http://customer.example:{free_port}/"), b"", {})
    assert (answer.status, answer.error) == (0, "connection refused")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        (" 7 ", 7),
        ("999999999", 86_400),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 86_400),
        ("Thu, 01 Jan 1970 00:10:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:16:50 GMT", 10),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(value, seconds):
    assert outgoing.retry_after(value, now=1000.0) == seconds


def plain(server):
    guard = Guard(http=True, networks=(HERE,), resolve=Names(["127.0.0.2"]))
    return guard.check(f"http://customer.example:{server.port}/hook")


def _quietly(act, listener) -> None:
    with suppress(OSError):
        act(listener)


def test_the_receiver_of_these_tests_keeps_what_it_is_sent():
    with receiver("127.0.0.2") as server:
        outgoing.post(plain(server), b"abc", {"webhook-id": "msg_1"})
        [received] = server.received
        assert isinstance(received, Received)
        assert (received.body, received.headers["webhook-id"]) == (b"abc", "msg_1")
