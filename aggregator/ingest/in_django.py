"""Ingest in Django's views: a request from Django, and the response to what it sends."""

import asyncio
from collections.abc import Sequence

from django.http import HttpRequest, HttpResponse

from aggregator import ledger
from aggregator.http.answers import Answer
from aggregator.http.problems import as_problem
from aggregator.http.request_log import begin_request, current_request_id
from aggregator.http.requests import ReceivedRequest
from aggregator.http.threaded_handler import DeferredResponse, LoopRequest
from aggregator.ingest.on_loop import loop_commit
from aggregator.ingest.ways_in import WayIn
from aggregator.ledger import Entry
from aggregator.ledger.group_commit import GroupCommit

commits = GroupCommit("webhook")
"""Of all threads of a WSGI server's process."""


def received_by_loop(django_request: HttpRequest) -> ReceivedRequest | None:
    """Return the request if an event loop has received it; raise what it found wrong with it."""
    if not isinstance(django_request, LoopRequest):
        return None
    if isinstance(django_request.received, Exception):
        raise django_request.received
    assert isinstance(django_request.received, ReceivedRequest), "a way in's requests are received so"
    return django_request.received


def record_for(
    way_in: WayIn, entries: Sequence[Entry], django_request: HttpRequest, timeout_s: float
) -> HttpResponse:
    """Return the response to entries: once they are recorded, or at once where a loop waits for that."""
    if isinstance(django_request, LoopRequest):
        return _RecordingResponse(way_in, entries, timeout_s)
    return way_in.answer(commits.record(entries, timeout_s, current_request_id())).response()


class _RecordingResponse(DeferredResponse):
    def __init__(self, way_in: WayIn, entries: Sequence[Entry], timeout_s: float) -> None:
        super().__init__()
        self._way_in = way_in
        self._validated = ledger.validate(entries)
        self._timeout_s = timeout_s
        self._request_id = current_request_id()

    async def answer(self) -> Answer:
        begin_request(self._request_id)
        commit = loop_commit(asyncio.get_running_loop())
        try:
            return self._way_in.answer(await commit.record(self._validated, self._timeout_s))
        except Exception as error:  # as in REST framework: as_problem makes it an answer and a log event
            return as_problem(error).answer()
