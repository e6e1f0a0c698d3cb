"""The webhook transport: signed POST requests to the hub, and what its answers mean (docs/webhook.md)."""

import hashlib
import ssl
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

import msgspec
import requests
import urllib3

from ecosystems import signing
from ecosystems.bus.transport import (
    CONFIRMED,
    Entry,
    Fate,
    Postponed,
    Refused,
    Transport,
    halves,
    send_in_turn,
)
from ecosystems.http_errors import error_chain, innermost_text, retry_after

WEBHOOK_CONNECT_TIMEOUT_S = 5
WEBHOOK_READ_TIMEOUT_S = 10

REFUSING_STATUSES = frozenset({400, 401, 403, 409, 411, 413, 415, 422})
"""Statuses that refuse a request for good. After all others it is sent again."""

NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
MAX_ANSWER_TEXT = 500


class WebhookTransport(Transport):
    """Posts signals in batches over one kept-alive connection; each request is tried once.

    Standard Webhooks headers; the message id is a hash of the body, so that a batch that is sent again
    keeps its id, as that specification requires.
    """

    name = "webhook"

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        api_key: str | None = None,
        max_signals: int = 1000,
        max_bytes: int = 1_048_576,
    ) -> None:
        """`secret` is `whsec_<base64>` or any text; `max_signals` and `max_bytes` bound one request."""
        self._url = url
        self._secret = secret
        self._max_signals = max_signals
        self._max_bytes = max_bytes
        self._session = requests.Session()
        self._session.headers.update({"Content-Type": "application/json", "User-Agent": "signal-hub-agent"})
        if api_key:
            self._session.headers["Authorization"] = f"Bearer {api_key}"
        # Keeps requests from sending what `~/.netrc` has for this host.
        self._session.auth = lambda request: request

    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        return send_in_turn(self._deliver, self._batches(entries))

    def _batches(self, entries: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
        """Yield the entries that fit into one request, or one that is too large, until none is left."""
        start, size = 0, 1  # an array of n entries has n - 1 commas and two brackets
        for end, entry in enumerate(entries):
            size += len(entry.payload) + 1
            if end > start and (size > self._max_bytes or end - start == self._max_signals):
                yield entries[start:end]
                start, size = end, len(entry.payload) + 2
        if entries:
            yield entries[start:]

    def _deliver(self, batch: Sequence[Entry]) -> list[Fate]:
        """Post one signal as an object or several as an array, in halves where that is too large."""
        payloads = [entry.payload for entry in batch]
        body = payloads[0] if len(payloads) == 1 else b"[%b]" % b",".join(payloads)
        try:
            response = self.post(body)
        # requests' own errors are OSErrors; it passes on a few of urllib3's and of the host name's encoding.
        except (OSError, urllib3.exceptions.HTTPError, UnicodeError) as error:
            return [Postponed(_reason(error))] * len(batch)
        if response.status_code == 413 and len(batch) > 1:
            self._max_bytes = min(self._max_bytes, len(body) // 2)
            return send_in_turn(self._deliver, halves(batch))
        now = datetime.now(UTC)
        return fates_of(response.status_code, response.headers, response.content, len(batch), now)

    def post(self, body: bytes) -> requests.Response:
        """Send a signed request; raises what `requests` raises."""
        message_id = "msg_" + hashlib.sha256(body).hexdigest()[:32]
        headers = signing.headers(self._secret, message_id, int(time.time()), body)
        return self._session.post(
            self._url,
            data=body,
            headers=headers,
            timeout=(WEBHOOK_CONNECT_TIMEOUT_S, WEBHOOK_READ_TIMEOUT_S),
            allow_redirects=False,
        )

    def close(self) -> None:
        self._session.close()


def _reason(error: Exception) -> str:
    """Return the error without the URL, whose path or query may be a secret."""
    if isinstance(error, requests.ConnectTimeout):
        return f"no connection within {WEBHOOK_CONNECT_TIMEOUT_S} s"
    if isinstance(error, requests.Timeout):
        return f"no answer within {WEBHOOK_READ_TIMEOUT_S} s"
    for cause in error_chain(error):
        if isinstance(cause, ssl.SSLError):
            return (
                f"TLS failed: {getattr(cause, 'verify_message', '') or cause.reason or 'no common protocol'}"
            )
    return f"no connection: {innermost_text(error)}"


class _Rejection(msgspec.Struct):
    index: int
    code: str = "rejected"
    detail: str = ""


class _Outcome(msgspec.Struct):
    """Body of 200 and 202. A page of another server that answers 200 does not decode as one."""

    status: Literal["accepted", "duplicate"]
    rejected: list[_Rejection] = []


class Problem(msgspec.Struct):
    """Body of every other answer, as RFC 9457 defines it."""

    title: str = ""
    detail: str = ""
    code: str = ""
    errors: list[_Rejection] = []


def fates_of(status: int, headers: Mapping[str, str], body: bytes, count: int, now: datetime) -> list[Fate]:
    """Return the fates of the `count` signals of a request, in its order.

    `headers` is case-insensitive; `now` (aware) is what a `Retry-After` date is counted from.
    """
    if status in {200, 202}:
        try:
            outcome = msgspec.json.decode(body, type=_Outcome)
        except NOT_JSON:
            reason = f"{status} from a server that is not a hub: check the webhook URL"
            return [Postponed(reason)] * count
        return _with_rejections(outcome.rejected, [CONFIRMED] * count)
    problem = problem_of(body)
    if status in REFUSING_STATUSES:
        detail = _clean(problem.detail or problem.title) or f"the hub answered {status}"
        refused = Refused(_clean(problem.code) or f"http_{status}", detail)
        return _with_rejections(problem.errors, [refused] * count)
    reason = f"the hub answered {status}" + (f": {text}" if (text := _clean(problem.detail)) else "")
    if 300 <= status < 400:
        reason += " (redirects are not followed: set the URL that it points to)"
    return [Postponed(reason, retry_after(headers.get("Retry-After", ""), now))] * count


def problem_of(body: bytes) -> Problem:
    """Return the problem that a body is, an empty one for any other body."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except NOT_JSON:
        return Problem()


def _with_rejections(rejections: list[_Rejection], fates: list[Fate]) -> list[Fate]:
    """Return the fates with each rejected signal's own reason; one signal may break several rules."""
    reasons: dict[int, list[_Rejection]] = defaultdict(list)
    for rejection in rejections:
        reasons[rejection.index].append(rejection)
    return [
        Refused(
            _clean(reasons[index][0].code),
            _clean("; ".join(rejection.detail for rejection in reasons[index])),
        )
        if index in reasons
        else fate
        for index, fate in enumerate(fates)
    ]


def _clean(text: str) -> str:
    """Return the receiver's text as one printable line, for logs and terminals."""
    return "".join(letter for letter in " ".join(text.split()) if letter.isprintable())[:MAX_ANSWER_TEXT]
