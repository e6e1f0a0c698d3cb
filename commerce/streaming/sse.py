"""`GET /api/v1/stream`: the feed as Server-Sent Events, an ASGI application of its own.

https://html.spec.whatwg.org/multipage/server-sent-events.html: an event's `id` is a cursor, which a client
sends back as `Last-Event-ID` when it connects again.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from types import FrameType
from typing import Any
from uuid import UUID

import msgspec
from django.http import QueryDict

from aggregator.http.asgi import Receive, Scope, Send, received_by_asgi, respond
from aggregator.http.problems import Problem, as_problem, unavailable
from aggregator.ledger.errors import Outage
from commerce import ledger_window, readers, usage
from commerce.api import serializers
from commerce.api.base import counting_failures, valid
from commerce.feed import Filters, cursors
from commerce.feed.cursors import Cursor
from commerce.ledger_window import Place
from commerce.streaming import slots
from commerce.streaming.broadcaster import (
    Broadcaster,
    Subscriber,
    cursor_event,
    streaming_entitlement,
    too_many_streams,
)
from commerce.usage import Usage

logger = logging.getLogger("signal_hub.stream")

PATH = "/api/v1/stream"
KEEP_ALIVE_INTERVAL_S = 15.0
CURSOR_INTERVAL_S = 2.0
"""How soon a client learns that its cursor moved past signals that its filters hide."""
SEND_TIMEOUT_S = 30.0
"""How long a client may leave what was sent unread; its slot is needed for others."""
RECONNECT_MS = 3000
ANY_ORIGIN = {"Access-Control-Allow-Origin": "*"}
"""As all of the API: CORS_ALLOW_ALL_ORIGINS says why."""


@lru_cache(maxsize=1)
def broadcaster() -> Broadcaster:
    """Return this process's broadcaster."""
    return Broadcaster()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one stream (an ASGI application for `http` scopes at PATH)."""
    shared = broadcaster()
    request = received_by_asgi(scope)
    try:
        if scope["method"] != "GET":
            raise Problem(405, "method_not_allowed", "This address takes GET.", headers={"Allow": "GET"})
        subscriber, used = await shared.in_database_thread(
            admit, request.headers, scope["query_string"], request.address, shared.process
        )
    except Exception as error:
        refusal = as_problem(error)
        refusal.headers |= ANY_ORIGIN
        await respond(send, refusal.response())
        return
    watcher = asyncio.create_task(_end_on_disconnect(receive, subscriber))
    shared.add(subscriber)
    try:
        await _Stream(shared, subscriber, used, send).run()
    except (TimeoutError, OSError):
        logger.debug("a client disconnected or does not read; its cursor says where to go on")
    finally:
        watcher.cancel()
        shared.subscribers.discard(subscriber)
        with suppress(Outage):  # the slot expires by itself
            await shared.in_database_thread(slots.release, subscriber.slot)


def admit(headers: Mapping[str, str], query: bytes, address: str, process: UUID) -> tuple[Subscriber, Usage]:
    """Check a request and acquire a slot for its stream. Raises what a view raises."""
    with counting_failures(address):
        reader = readers.find_reader(headers)
    entitlement = streaming_entitlement(reader)
    wanted = valid(serializers.StreamQuery, QueryDict(query))
    after: Cursor | None = wanted.pop("after", None)
    if last := headers.get("last-event-id"):
        after = valid(serializers.CursorQuery, {"cursor": last})["cursor"]
    outcomes, filters = wanted.pop("outcomes"), Filters(**wanted)
    delay = entitlement.scope.delay
    place = frontier = ledger_window.frontiers([delay])[delay]
    if after is not None:
        cursors.require_on_record(after.position, frontier.position)
        decided = ledger_window.decided_by(after.position) if after.decided is None else after.decided
        place = Place(after.position, decided)
    used = usage.count_request(entitlement.customer_id, entitlement.requests_per_day)
    usage.require_signals_left(used, entitlement.signals_per_day)
    slot = slots.acquire(entitlement.customer_id, process, entitlement.streams)
    if slot is None:
        raise too_many_streams(entitlement.streams)
    return Subscriber(reader.digest, slot, entitlement, filters, place, frontier, outcomes), used


class _Stream:
    def __init__(self, shared: Broadcaster, subscriber: Subscriber, used: Usage, send: Send) -> None:
        self.shared = shared
        self.subscriber = subscriber
        self._used = used
        self._send = send
        self._sent_place = subscriber.place
        self._sent_at = time.monotonic()

    async def run(self) -> None:
        """Send until the client disconnects or the stream has to end."""
        await self._start()
        while not self.subscriber.end_reason:
            moved = self.subscriber.place.is_behind(self.subscriber.frontier) and await self._page()
            # Signals that the filters hide must not keep the connection silent for long.
            behind = self.subscriber.place != self._sent_place
            left = self._sent_at + (CURSOR_INTERVAL_S if behind else KEEP_ALIVE_INTERVAL_S) - time.monotonic()
            if left <= 0:
                await self._write(cursor_event(self.subscriber.place, self.subscriber.frontier))
            elif not moved:
                await self.subscriber.wait(left)
        await self._write(_end_event(self.subscriber.end_reason))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _page(self) -> bool:
        """Send a page and return whether the place moved."""
        try:
            page = await self.shared.page(self.subscriber)
            granted = await self._count(len(page.events))
        except Outage:
            return False  # the broadcaster logs it; the next frontier or keep-alive tries again
        chunk = b"".join(event for _, event in page.events[:granted])
        before = self.subscriber.place
        if granted == len(page.events):
            self.subscriber.place = page.place
        elif granted:
            self.subscriber.place = page.events[granted - 1][0]
        if chunk:
            await self._write(chunk)
        return self.subscriber.place != before

    async def _count(self, wanted: int) -> int:
        """Count signals and return how many may be sent; if not all, the stream ends behind them."""
        if not wanted:
            return 0
        customer, limit = self.subscriber.entitlement.customer_id, self.subscriber.entitlement.signals_per_day
        granted = await self.shared.in_database_thread(usage.count_signals, customer, wanted, limit)
        if granted < wanted and limit is not None:
            today = await self.shared.in_database_thread(usage.today, customer)
            self.subscriber.end(usage.limit_reached("signals", limit, today.resets_at))
        return granted

    async def _start(self) -> None:
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "private, no-cache",
            "Vary": "Authorization, X-API-Key",
            "X-Accel-Buffering": "no",
            **ANY_ORIGIN,
            **usage.rate_limit_headers(self.subscriber.entitlement, self._used),
        }
        encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": 200, "headers": encoded})
        place = cursor_event(self.subscriber.place, self.subscriber.frontier)
        await self._write(b"retry: %d\n%b" % (RECONNECT_MS, place))

    async def _write(self, chunk: bytes) -> None:
        async with asyncio.timeout(SEND_TIMEOUT_S):
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._sent_place, self._sent_at = self.subscriber.place, time.monotonic()


def _end_event(problem: Problem) -> bytes:
    body = {"status": problem.status.value, "code": problem.code, "detail": problem.detail}
    if "resets_at" in problem.members:
        body["resets_at"] = problem.members["resets_at"]
    return b"event: end\ndata: %b\n\n" % msgspec.json.encode(body)


async def _end_on_disconnect(receive: Receive, subscriber: Subscriber) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    subscriber.end(Problem(400, "gone", "The client disconnected."))


def end_on_signals() -> None:
    """From now on, end the streams on SIGTERM and SIGINT, then call the server's own handlers.

    A server sends `lifespan.shutdown` only once its connections are closed; streams stay open.
    """
    loop = asyncio.get_running_loop()

    def end_all() -> None:
        for subscriber in list(broadcaster().subscribers):
            subscriber.end(unavailable("The stream's process is stopping; connect again.", "stopping"))

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(end_all)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)
