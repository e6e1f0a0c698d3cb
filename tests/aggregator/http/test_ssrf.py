"""Where the hub connects on a customer's behalf, and where never: every address family and trick."""

from __future__ import annotations

import ipaddress
import socket
import threading

import pytest

from aggregator.http import ssrf
from aggregator.http.ssrf import Guard, Refused, Unresolved, is_public
from tests.resolving import Names

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
    "localhost with a dot": ("https://localhost./", "bad_host"),
    "empty label at the end": ("https://customer.example../", "bad_host"),
    "empty label at the start": ("https://.customer.example/", "bad_host"),
    "nothing but a dot": ("https://./", "bad_host"),
    "name too long": (f"https://{'a.' * 126}ab/", "bad_host"),
    "label too long": (f"https://{'a' * 64}.example/", "bad_host"),
    "label with a hyphen at its end": ("https://customer-.example/", "bad_host"),
    "digits of another alphabet": ("https://\uff11\uff12\uff17.0.0.1/", "bad_url"),
    "no slashes": ("https:customer.example", "bad_url"),
    "one slash": ("https:/customer.example", "bad_url"),
    "unix socket": ("http+unix://%2Fvar%2Frun%2Fdocker.sock/", "not_https"),
    "zone": ("https://[fe80::1%25eth0]/", "address_not_public"),
    "public address with a zone": ("https://[2606:4700::1111%25eth0]/", "address_not_public"),
    "mapped literal, dotted": ("https://[::ffff:127.0.0.1]/", "address_not_public"),
    "NUL": ("https://customer.example\x00/", "bad_url"),
    "port of a mail server in two spellings": ("https://customer.example:0025/", "bad_port"),
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


def test_a_look_up_that_hangs_is_given_up(monkeypatch):
    """A name server of the customer's own may let it hang; the request's time begins only after it."""
    over = threading.Event()
    monkeypatch.setattr(ssrf, "LOOKUP_TIMEOUT_S", 0.1)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(20))
    with pytest.raises(Unresolved):
        Guard().check("https://customer.example/")
    assert not over.is_set()
    over.set()


def test_the_guard_of_the_hub_follows_its_settings(settings):
    from aggregator.http.ssrf import guard

    settings.DEBUG = False
    with pytest.raises(Refused, match="https"):
        guard().check("http://8.8.8.8/")
    settings.DEBUG = True
    assert guard().check("http://8.8.8.8/").addresses == ("8.8.8.8",)
    with pytest.raises(Refused):
        guard().check("http://127.0.0.1:8080/")


def test_the_system_resolver_knows_loopback_and_is_refused(connects):
    """The real look-up, of a name that every machine's hosts file has."""
    from aggregator.http.ssrf import resolve

    assert set(resolve("localhost", 443)) <= {"127.0.0.1", "::1"}
    with pytest.raises(Refused):
        Guard(resolve=lambda _host, port: resolve("localhost", port)).check("https://customer.example/")
