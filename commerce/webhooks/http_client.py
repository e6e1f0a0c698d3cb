"""One POST to a target that the guard has judged: no redirects, no proxies, bounded in time and in size."""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

import certifi

from commerce.webhooks.ssrf import Target
from ecosystems.http_errors import retry_after

TIMEOUT_S = 15.0
EXCERPT_BYTES = 1024
"""How much of an answer is read and kept; the rest is never asked for."""
LONGEST_RETRY_AFTER_S = 86_400.0


@dataclass(frozen=True)
class AttemptResult:
    """What came of a request. `status` is 0 when there was no HTTP answer; then `error` says why."""

    status: int
    error: str
    excerpt: str
    retry_after_s: float | None
    duration_ms: int

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
    timeout_s: float = TIMEOUT_S,
    tls: ssl.SSLContext | None = None,
) -> AttemptResult:
    """POST `body` to `target` and return the answer, or why there was none; never raises for the network.

    The whole exchange ends within `timeout_s`, however slowly the other side drips its bytes.
    """
    started = time.monotonic()
    deadline = started + timeout_s
    status, error, excerpt, retry_after_s = 0, "", "", None
    try:
        with _connected(target, deadline, tls or trust()) as connection:
            connection.request("POST", target.path, body, {"Connection": "close", **headers})
            response = connection.getresponse()
            status = response.status
            asked = response.headers.get("Retry-After", "")
            retry_after_s = retry_after(asked, datetime.now(UTC), LONGEST_RETRY_AFTER_S)
            with suppress(OSError, http.client.HTTPException):
                excerpt = _text(response.read(EXCERPT_BYTES))
    except (OSError, http.client.HTTPException, ValueError) as failure:
        status, error = 0, _explain(failure, time.monotonic() >= deadline)
    return AttemptResult(status, error, excerpt, retry_after_s, round((time.monotonic() - started) * 1000))


@contextmanager
def _connected(target: Target, deadline: float, tls: ssl.SSLContext) -> Iterator[http.client.HTTPConnection]:
    """Give an HTTP connection over a socket to one of the judged addresses; it ends with the deadline."""
    connection: http.client.HTTPConnection
    sock = _connect(target, deadline)
    if target.scheme == "https":
        connection = http.client.HTTPSConnection(target.host, target.port, context=tls)
        # The name, not the address, is what SNI carries and what the certificate is checked against.
        sock = tls.wrap_socket(sock, server_hostname=target.host, do_handshake_on_connect=False)
    else:
        connection = http.client.HTTPConnection(target.host, target.port)
    connection.auto_open = 0  # never connects by itself, which would look the name up again
    connection.sock = sock
    # A socket's own timeout holds for one read; an answer that drips would go on for ever.
    alarm = threading.Timer(max(0.0, deadline - time.monotonic()), _shut, [sock])
    alarm.daemon = True
    alarm.start()
    try:
        with sock:
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            yield connection
    finally:
        alarm.cancel()


def _connect(target: Target, deadline: float) -> socket.socket:
    """Connect to the first judged address that answers; the last one's OSError when none does."""
    last: OSError = TimeoutError("no address answered in time")
    for number, address in enumerate(target.addresses):
        left = deadline - time.monotonic()
        if left <= 0:
            break
        try:
            # A share of the time for each, so that a dead address does not use it all up.
            connected = socket.create_connection(
                (address, target.port), left / (len(target.addresses) - number)
            )
        except OSError as error:
            last = error
            continue
        connected.settimeout(max(0.1, deadline - time.monotonic()))
        return connected
    raise last


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        # Not TLS's own shutdown, which takes the session away under the thread that reads from it.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _text(data: bytes) -> str:
    """Return an excerpt that Postgres can hold, whatever was sent."""
    return data.decode(errors="replace").replace("\x00", "\ufffd")


def _explain(error: Exception, late: bool) -> str:
    """Name a failure for the customer; the texts of errors may quote what the other side sent."""
    if late or isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return "tls"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, (http.client.HTTPException, ValueError)):
        return "not an HTTP answer"
    return "connection failed"
