"""Ingest on an event loop: many requests at once, without a thread for each."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache, partial
from typing import Any, TypeVar

import psycopg
from django.core.exceptions import SynchronousOnlyOperation

from aggregator import ledger
from aggregator.http.asgi import Receive, receive_body
from aggregator.http.problems import unavailable
from aggregator.http.request_log import current_request_id
from aggregator.http.requests import ReceivedRequest
from aggregator.ingest.ways_in import WayIn
from aggregator.ledger.group_commit import GroupCommit, Ticket, log_lone
from aggregator.ledger.lone_write import MAX_LONE_CHARS, LoneWrite
from aggregator.ledger.recording import NewSignals
from aggregator.postgres.pool import call_and_release, serve_signals

MAX_WAITING_THREADS = 4
"""Calls that wait for Postgres or Redis at once, beside the thread that writes."""
LONG_BODY_BYTES = 65_536
"""A longer body is parsed in a thread, so that it holds up no others."""

_T = TypeVar("_T")


async def receive_whole(way_in: WayIn, request: ReceivedRequest, receive: Receive) -> None:
    """Check the head of a request; add the body to it, and how many seconds are left for the rest."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    length = await _run(way_in.timeout_s, way_in.check, request)
    request.left_s = way_in.timeout_s - (loop.time() - started)
    request.body = await receive_body(receive, length)


async def record_body(way_in: WayIn, request: ReceivedRequest) -> Sequence[ledger.Result]:
    """Record what a whole request sends, and return the results. Raises what `way_in` raises, and Outage."""
    loop = asyncio.get_running_loop()
    until = loop.time() + request.left_s
    is_long = len(request.body) > LONG_BODY_BYTES
    validated = await _run(request.left_s, _validated, way_in, request, is_long=is_long)
    return await loop_commit(loop).record(validated, until - loop.time())


def _validated(way_in: WayIn, request: ReceivedRequest) -> list[ledger.Validated]:
    return ledger.validate(way_in.entries(request))


async def _run(timeout_s: float, call: Callable[..., _T], *arguments: Any, is_long: bool = False) -> _T:
    """Call on the event loop, which is faster, or in one of a few threads if it is long or has to wait.

    Raises Problem 503 where all of the threads stay busy, or it takes too long.
    """
    if not is_long:
        try:
            return call(*arguments)
        except SynchronousOnlyOperation:
            pass
    run = partial(copy_context().run, call_and_release, call, *arguments)
    try:
        async with asyncio.timeout(timeout_s):
            return await asyncio.get_running_loop().run_in_executor(_threads, run)
    except TimeoutError:
        raise unavailable("The database is unavailable; retry later.") from None


_threads = ThreadPoolExecutor(MAX_WAITING_THREADS, "ingest", serve_signals)


class LoopCommit:
    """The writing thread, for an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._commits = GroupCommit("webhook", self._answered)
        self._ready: list[Ticket] = []
        self._pending = 0
        """Requests that wait for their results."""

    async def record(self, validated: list[ledger.Validated], timeout_s: float) -> list[ledger.Result]:
        """Do what `GroupCommit.record` does."""
        ticket = Ticket(validated, self._loop.create_future(), current_request_id())
        timer = self._loop.call_later(timeout_s, _expire, ticket)
        if not self._ready:
            # After all requests that have just arrived: each switch to the other thread costs more than one.
            self._loop.call_soon(self._submit)
        self._ready.append(ticket)
        self._pending += 1
        try:
            await ticket.waiter
        finally:
            self._pending -= 1
            timer.cancel()
        return ticket.outcome()

    def _submit(self) -> None:
        ready, self._ready = self._ready, []
        if self._pending == len(ready) == 1 and self._write_alone(ready[0]):
            return
        for ticket in ready:
            self._commits.submit(ticket)

    def _write_alone(self, ticket: Ticket) -> bool:
        """Begin to record a request without the thread; return whether that is so."""
        batch = ledger.Batch(ticket.validated)
        if not 0 < len(batch.inline) <= MAX_LONE_CHARS:
            return False
        connection = self._commits.acquire_connection()
        if connection is None:
            return False

        def ended(recorded: NewSignals | None) -> None:
            self._commits.release_connection(is_sound=recorded is not None)
            if recorded is None or recorded.new < len(batch.validated):
                ticket.recorded = recorded and (batch, recorded)
                self._commits.submit(ticket)
                return
            ticket.results = ledger.finish(batch, recorded, self._commits.transport)
            _wake([ticket])
            # After the answer, as the thread does: its head and its body take a turn of the loop each.
            self._loop.call_soon(self._loop.call_soon, log_lone, ticket, self._commits.transport)

        try:
            LoneWrite(self._loop, connection, batch, self._commits.transport, ended)
        except psycopg.Error:
            self._commits.release_connection(is_sound=False)
            return False
        return True

    def _answered(self, group: Sequence[Ticket]) -> None:
        self._loop.call_soon_threadsafe(_wake, group)


loop_commit = lru_cache(maxsize=1)(LoopCommit)
"""Return the LoopCommit of an event loop; a server has one in each process."""


def _expire(ticket: Ticket) -> None:
    ticket.error = ticket.withdraw()
    _wake([ticket])


def _wake(group: Sequence[Ticket]) -> None:
    for ticket in group:
        if not ticket.waiter.done():
            ticket.waiter.set_result(None)
