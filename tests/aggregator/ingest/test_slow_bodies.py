"""Senders that begin a body and never end it, at both servers, reached directly."""

import selectors
import socket
import time
from urllib.parse import urlsplit

import pytest
import requests

from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.servers import free_port, receiver, serve, web

pytestmark = pytest.mark.django_db(transaction=True)
SENDERS = 40
"""More than a server has threads."""


@pytest.fixture(scope="module")
def urls(run_shared):
    return [serve(run_shared, command, free_port()) for command in (web, receiver)]


def begin(url, path, headers):
    """Send a head and half of the body that it announces."""
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname, address.port), timeout=60)
    lines = {"Host": "localhost", "Content-Length": "64"} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    connection.sendall(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + b"{" * 32)
    return connection


def statuses(connections):
    """Wait for the first bytes that each is answered; return the statuses."""
    found = []
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(60)
            assert ready, "no answer within a minute"
            for key, _ in ready:
                found.append(key.fileobj.recv(4096)[9:12])
                selector.unregister(key.fileobj)
    return found


def test_half_sent_bodies_stop_neither_server(urls):
    json_type = {"Content-Type": "application/json"}
    plausible = json_type | standard(b"{" * 64)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    waiting = [begin(url, "/api/signals", plausible) for url in urls for _ in range(SENDERS)]
    waiting += [begin(urls[0], "/admin/login/", form) for _ in range(SENDERS)]
    of_a_customer = begin(urls[0], "/api/v1/webhooks", json_type)
    began = time.monotonic()
    # Who shows nothing is answered before its body is read.
    unsigned = [begin(url, "/api/signals", json_type) for url in urls for _ in range(SENDERS)]
    assert set(statuses(unsigned)) == {b"401"}
    for number, url in enumerate(urls):
        body = as_bytes(wire(f"s-{number}"))
        answer = requests.post(f"{url}/api/signals", body, headers=json_type | standard(body), timeout=60)
        assert answer.status_code == 202
        assert requests.get(f"{url}/health", timeout=60).status_code in {200, 503}
    assert requests.get(f"{urls[0]}/admin/login/", timeout=60).status_code == 200
    assert time.monotonic() - began < 9, "they were answered while the others were still waited for"
    assert set(statuses(waiting)) == {b"408"}
    answer = b""
    while not answer.endswith(b"}"):
        part = of_a_customer.recv(4096)
        assert part, answer
        answer += part
    assert b"\r\ncontent-type: application/problem+json\r\n" in answer
    assert b'"code":"timeout"' in answer
    for connection in [*waiting, *unsigned, of_a_customer]:
        connection.close()
