"""The ways in over HTTP, for the servers that serve them: the hub's web server and the receiver.

Both do the same in the same order: `check` the head, read the body, take its `entries`, have them recorded,
and send the `answer`. So a way in cannot answer differently here and there.
"""

from collections.abc import Sequence
from typing import Protocol

from aggregator.http.answers import Answer
from aggregator.http.requests import ReceivedRequest
from aggregator.ingest.hooks import hook
from aggregator.ingest.webhook import SIGNALS_PATH, webhook
from aggregator.ledger import Entry, Result
from aggregator.sources.tokens import HOOKS_PATH


class WayIn(Protocol):
    """Any method may raise Problem, Unauthenticated and Outage.

    `check` and `entries` may wait for Postgres or Redis, and then only by functions that refuse to be called
    on an event loop (Django's `async_unsafe`): on a loop they are called again in a thread.
    """

    timeout_s: float
    """How long the sender waits, but for the time that its body takes, before it is answered 503."""

    def check(self, request: ReceivedRequest) -> int:
        """Return the length of the body, if it is worth reading. The request has none yet."""

    def entries(self, request: ReceivedRequest) -> list[Entry]:
        """Authenticate a request with its body and return what it sends."""

    def answer(self, results: Sequence[Result]) -> Answer:
        """Return the answer to the results of its entries, in their order."""


def find_way_in(path: str) -> WayIn | None:
    """Return the way in at an address."""
    if path == SIGNALS_PATH:
        return webhook
    return hook if path.startswith(HOOKS_PATH) else None
