"""One POST to a checked target: no redirects, no proxies, bounded in time and in size."""

import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import certifi
import httpcore
import httpx

from aggregator.http.ssrf import Target
from ecosystems.http_errors import retry_after

REQUEST_TIMEOUT_S = 15.0
MAX_EXCERPT_BYTES = 1024
"""How much of a response is read and kept."""
MAX_RETRY_AFTER_S = 86_400.0


@dataclass(frozen=True)
class AttemptResult:
    """What came of an attempt. `status` is 0 when there was no HTTP response; then `error` says why."""

    status: int
    error: str = ""
    excerpt: str = ""
    retry_after_s: float | None = None
    duration_ms: int = 0

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


@lru_cache(maxsize=1)
def trust() -> ssl.SSLContext:
    """Return the TLS context of outgoing requests: the system's authorities (SSL_CERT_FILE) and certifi's."""
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context


def post(
    target: Target,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout_s: float = REQUEST_TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> AttemptResult:
    """POST `body` to `target` and return the response, or why there was none; never raises for the network.

    The whole exchange ends within `timeout_s`, however slowly the other side sends.
    """
    started = time.monotonic()
    deadline = started + timeout_s
    url = httpx.URL(scheme=target.scheme, host=target.host, port=target.port)
    request = httpx.Request("POST", url, headers={"Connection": "close", **headers}, content=body)
    status, error, excerpt, retry_after_s = 0, "", "", None
    try:
        # The transport without httpx's client around it: nothing follows redirects or reads the environment.
        with PinnedTransport(target, deadline, tls or trust()) as transport:
            response = transport.handle_request(request)
            status = response.status_code
            asked = response.headers.get("Retry-After", "")
            retry_after_s = retry_after(asked, datetime.now(UTC), MAX_RETRY_AFTER_S)
            excerpt = _excerpt(response)
    except (OSError, httpcore.ProtocolError, ValueError) as failure:
        error = _explanation(failure, time.monotonic() >= deadline)
    return AttemptResult(status, error, excerpt, retry_after_s, round((time.monotonic() - started) * 1000))


class PinnedTransport(httpx.BaseTransport):
    """Connects to the checked addresses of one target, whatever name the request has, until a deadline.

    TLS goes by the name: it is what SNI carries and what the certificate is checked against.
    """

    def __init__(self, target: Target, deadline: float, tls: ssl.SSLContext) -> None:
        self._target = target
        self._pool = httpcore.ConnectionPool(tls, network_backend=_CheckedAddresses(target, deadline))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=self._target.path.encode(),  # as the customer wrote it: httpx would normalise it
        )
        assert isinstance(request.stream, Iterable)
        response = self._pool.handle_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        )
        return httpx.Response(response.status, headers=response.headers, content=response.iter_stream())

    def close(self) -> None:
        self._pool.close()


class _CheckedAddresses(httpcore.NetworkBackend):
    """Connects to the first address of a target that answers, never by a name."""

    def __init__(self, target: Target, deadline: float) -> None:
        self._target = target
        self._deadline = deadline

    def connect_tcp(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        last: OSError = TimeoutError("no address answered in time")
        addresses = self._target.addresses
        for number, address in enumerate(addresses):
            left = self._deadline - time.monotonic()
            if left <= 0:
                break
            # A share of the time for each, so that a dead address does not use it all up.
            share = left / (len(addresses) - number)
            try:
                connected = socket.create_connection((address, self._target.port), share)
            except OSError as error:
                last = error
            else:
                return _SocketUntil(connected, self._deadline)
        raise last


class _SocketUntil(httpcore.NetworkStream):
    """A socket whose every operation ends by the deadline.

    httpx's own timeouts hold for one read: a response that drips byte by byte would go on for ever.
    """

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - see above
        return self._in_time().recv(max_bytes)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        try:
            self._in_time().sendall(buffer)
        except ConnectionError as error:
            raise httpcore.WriteError from error  # httpcore then reads a response that came early

    def close(self) -> None:
        self._sock.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        try:
            encrypted = ssl_context.wrap_socket(self._in_time(), server_hostname=server_hostname)
        except Exception:
            self.close()
            raise
        return _SocketUntil(encrypted, self._deadline)

    def _in_time(self) -> socket.socket:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock


def _excerpt(response: httpx.Response) -> str:
    """Return how a response begins, as text that Postgres can hold; the rest is not read."""
    data = b""
    # What fails after the status does not change the result.
    with suppress(OSError, httpcore.ProtocolError):
        for chunk in response.iter_raw():
            data += chunk
            if len(data) >= MAX_EXCERPT_BYTES:
                break
    return data[:MAX_EXCERPT_BYTES].decode(errors="replace").replace("\x00", "\ufffd")


def _explanation(error: Exception, late: bool) -> str:
    """Return a failure in words for the customer; the texts of errors may quote what the other side sent."""
    if late or isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (httpcore.ProtocolError, ValueError)):
        return "not an HTTP response"
    return "connection failed"
