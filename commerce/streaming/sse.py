"""`GET /api/v1/stream`: the feed as Server-Sent Events, an ASGI application of its own.

https://html.spec.whatwg.org/multipage/server-sent-events.html: an event's `id` is a cursor, which a reader
sends back as `Last-Event-ID` when it connects again.
"""

import asyncio
import logging
import signal
import time
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from types import FrameType
from typing import Any
from uuid import UUID

import msgspec
from django.conf import settings
from django.http import HttpResponse, QueryDict

from aggregator.http.client_address import client_address
from aggregator.http.problems import Problem, unavailable
from aggregator.ledger.errors import Outage
from commerce import readers, usage
from commerce.api import quota_headers, serializers
from commerce.api.base import failed, problem_of, valid
from commerce.entitlements import Entitlement
from commerce.feed import Filters
from commerce.streaming import slots
from commerce.streaming.broadcaster import Batch, Follower, Tail, may_stream, progress, too_many
from commerce.usage import LimitReached

logger = logging.getLogger("signal_hub.stream")

PATH = "/api/v1/stream"
HEARTBEAT_S = 15.0
PROGRESS_S = 2.0
"""How soon a reader hears that its cursor moved over signals that are not for it."""
SEND_WITHIN_S = 30.0
"""How long a reader may leave what was sent unread; its place is needed for others."""
RECONNECT_MS = 3000

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True)
class Admission:
    """What a reader is let in with."""

    digest: bytes
    rights: Entitlement
    used: usage.Usage
    filters: Filters
    position: int
    lease: UUID


@lru_cache(maxsize=1)
def the_tail() -> Tail:
    """Return this process's Tail."""
    return Tail()


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one stream (an ASGI application for `http` scopes at PATH)."""
    tail = the_tail()
    try:
        if scope["method"] != "GET":
            raise Problem(405, "method_not_allowed", "This address takes GET.", headers={"Allow": "GET"})
        admission = await tail.ask(
            admit, headers_of(scope), scope["query_string"], address_of(scope), tail.process
        )
    except Exception as error:
        await respond(send, problem_of(error).response())
        return
    follower = Follower(admission.digest, admission.lease, admission.rights, admission.filters)
    watcher = asyncio.create_task(_watch(receive, follower))
    tail.join(follower)
    try:
        await _Stream(tail, follower, admission, send).run()
    except (TimeoutError, OSError):
        logger.debug("a reader is gone, or does not read; it knows where to go on")
    finally:
        watcher.cancel()
        tail.leave(follower)
        await _give_back(tail, follower.lease)


def admit(headers: dict[str, str], query: bytes, address: str, process: UUID) -> Admission:
    """Let a reader in. Raises what a view would."""
    with failed(address):
        reader = readers.reader(headers)
    rights = may_stream(reader)
    wanted = valid(serializers.StreamQuery, QueryDict(query))
    after = wanted.pop("after", None)
    if last := headers.get("last-event-id"):
        after = valid(serializers.CursorQuery, {"cursor": last})["cursor"]
    used = usage.count_request(rights.customer_id, rights.requests_per_day)
    if rights.signals_per_day is not None and used.signals >= rights.signals_per_day:
        raise LimitReached("signals", rights.signals_per_day, used.resets_at)
    lease = slots.take(rights.customer_id, process, rights.streams)
    if lease is None:
        raise too_many(rights.streams)
    position = rights.scope.window().frontier if after is None else after
    return Admission(readers.digest(headers), rights, used, Filters(**wanted), position, lease)


class _Stream:
    def __init__(self, tail: Tail, follower: Follower, admission: Admission, send: Send) -> None:
        self.tail = tail
        self.follower = follower
        self.admission = admission
        self.position = admission.position
        self._send = send
        self._told = self.position
        """The position that the reader knows."""
        self._told_at = time.monotonic()

    async def run(self) -> None:
        """Send until the reader goes or has to."""
        await self._start()
        while not self.follower.over:
            moved = self.position < self.follower.frontier and await self._page()
            # News that are nothing to this reader's filter must not keep the connection silent for long.
            quiet = PROGRESS_S if self.position != self._told else HEARTBEAT_S
            left = self._told_at + quiet - time.monotonic()
            if left <= 0:
                await self._write(progress(self.position))
            elif not moved:
                await self.follower.news(left)
        await self._write(_last_words(self.follower.over))
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _page(self) -> bool:
        """Send a page; return whether that was any progress."""
        try:
            batch = await self.tail.page(self.follower, self.position)
            granted = await self._take(len(batch.events))
        except Outage:
            return False  # the poller says so; the next news or heartbeat tries again
        chunk = b"".join(event for _, event in batch.events[:granted])
        before, self.position = self.position, _reached(batch, granted, self.position)
        if chunk:
            await self._write(chunk)
        return self.position > before

    async def _take(self, wanted: int) -> int:
        """Return how many signals may be sent; ends the stream behind them where that is not all."""
        if not wanted:
            return 0
        rights = self.follower.rights
        limit = rights.signals_per_day
        granted = await self.tail.ask(usage.take_signals, rights.customer_id, wanted, limit)
        if granted < wanted and limit is not None:
            today = await self.tail.ask(usage.today, rights.customer_id)
            self.follower.end(quota_headers.problem(LimitReached("signals", limit, today.resets_at)))
        return granted

    async def _start(self) -> None:
        headers = {
            "Content-Type": "text/event-stream",
            "Cache-Control": "private, no-cache",
            "Vary": "Authorization, X-API-Key",
            "X-Accel-Buffering": "no",
            **quota_headers.headers(self.admission.rights, self.admission.used),
        }
        await self._send({"type": "http.response.start", "status": 200, "headers": encoded(headers)})
        await self._write(b"retry: %d\n%b" % (RECONNECT_MS, progress(self.position)))

    async def _write(self, chunk: bytes) -> None:
        async with asyncio.timeout(SEND_WITHIN_S):
            await self._send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._told, self._told_at = self.position, time.monotonic()


def _reached(batch: Batch, granted: int, before: int) -> int:
    """Return the position behind the events that were granted."""
    if granted == len(batch.events):
        return batch.position
    return batch.events[granted - 1][0] if granted else before


def _last_words(problem: Problem) -> bytes:
    body = {"status": problem.status.value, "code": problem.code, "detail": problem.detail}
    if "resets_at" in problem.members:
        body["resets_at"] = problem.members["resets_at"]
    return b"event: end\ndata: %b\n\n" % msgspec.json.encode(body)


async def _watch(receive: Receive, follower: Follower) -> None:
    """End the stream when its reader hangs up."""
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.end(Problem(400, "gone", "The reader hung up."))


async def _give_back(tail: Tail, lease: UUID) -> None:
    with suppress(Outage):  # the lease expires by itself
        await tail.ask(slots.give_back, lease)


async def lifespan(receive: Receive, send: Send) -> None:
    """Answer the server's start and stop; from the start on, a signal to stop ends all streams."""
    while True:
        kind = (await receive())["type"]
        if kind == "lifespan.startup":
            _end_on_signals(asyncio.get_running_loop())
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return


def _end_on_signals(loop: asyncio.AbstractEventLoop) -> None:
    """End the streams on SIGTERM and SIGINT, and let the server's own handlers do the rest.

    A server says `lifespan.shutdown` only when its connections are closed, and streams close only when told.
    """

    def end_all() -> None:
        for follower in list(the_tail().followers):
            follower.end(unavailable("The stream's process is stopping; connect again.", "stopping"))

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: Any = before) -> None:
            loop.call_soon_threadsafe(end_all)
            if callable(before):
                before(number, frame)

        signal.signal(number, handle)


async def respond(send: Send, response: HttpResponse) -> None:
    """Send a whole answer."""
    headers = encoded(dict(response.items()))
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.content})


def encoded(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def headers_of(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def address_of(scope: Scope) -> str:
    meta = {"REMOTE_ADDR": (scope.get("client") or [""])[0]}
    if forwarded := headers_of(scope).get("x-forwarded-for"):
        meta["HTTP_X_FORWARDED_FOR"] = forwarded
    return client_address(meta, settings.ENVIRONMENT.trusted_proxies)
