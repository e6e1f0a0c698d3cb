"""What a way in over HTTP is to the servers that serve it, the hub's web server and the receiver.

Both do the same in the same order: `check` the head, read the body, take its `entries`, have them recorded,
and send the `answer`. So a way in cannot answer differently here and there.
"""

from collections.abc import Sequence
from typing import Protocol

from django.http import HttpRequest

from aggregator.http.answers import Answer
from aggregator.http.requests import ReceivedRequest, read_body, received_by_django
from aggregator.ledger import Entry, Result
from aggregator.ledger.group_commit import GroupCommit


class WayIn(Protocol):
    """Any method may raise Problem, Unauthenticated and Outage.

    `check` and `entries` may wait for Postgres or Redis, and then only by functions that refuse to be called
    on an event loop (Django's `async_unsafe`): the receiver calls them again in a thread.
    """

    timeout_s: float
    """How long the sender waits, but for the time that its body takes, before it is answered 503."""

    def check(self, request: ReceivedRequest) -> int:
        """Return the length of the body, if it is worth reading. The request has none yet."""

    def entries(self, request: ReceivedRequest) -> list[Entry]:
        """Authenticate a request with its body and return what it sends."""

    def answer(self, results: Sequence[Result]) -> Answer:
        """Return the answer to the results of its entries, in their order."""


commits = GroupCommit("webhook")
"""Of all threads of this process."""


def received(way_in: WayIn, django_request: HttpRequest) -> ReceivedRequest:
    """Return a request with its body, which is read only if its head is in order."""
    request = received_by_django(django_request)
    length = way_in.check(request)
    request.body = read_body(django_request.read, length)
    return request


def record_in_thread(way_in: WayIn, entries: Sequence[Entry]) -> Answer:
    """Have entries recorded, and wait for it."""
    return way_in.answer(commits.record(entries, way_in.timeout_s))
