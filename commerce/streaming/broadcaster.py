"""The end of the ledger, watched once for all open streams of a process.

One poller asks where the frontiers are and whose key still counts; streams wait for its word. Pages are read
once for all streams that see the same and want the same. So what an idle stream costs the database does not
depend on how many there are.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import ParamSpec, TypeVar
from uuid import UUID, uuid4

from django.db import close_old_connections

from aggregator.http.problems import Problem, unavailable
from aggregator.ledger.errors import Outage, classified
from commerce import feed, ledger_window, readers
from commerce.entitlements import Entitlement, Scope
from commerce.feed import Filters, cursors, signal_serializer
from commerce.readers import Reader
from commerce.streaming import slots

T = TypeVar("T")
P = ParamSpec("P")
logger = logging.getLogger("signal_hub.stream")

POLL_S = 0.25
RECHECK_S = 2.0
"""How often keys and subscriptions of open streams are looked up again."""
OUTAGE_WAIT_S = 2.0
DATABASE_THREADS = 4
"""Also the database connections of a process."""
PAGE = 50
MOST_BYTES = 262_144
"""A page ends behind it. A reader that does not read holds one page, and a signal alone may have 64 KiB."""
PAGES_KEPT = 64


class Follower:
    """An open stream, as far as the tail knows it."""

    def __init__(self, digest: bytes, lease: UUID, rights: Entitlement, filters: Filters) -> None:
        self.digest = digest
        self.lease = lease
        self.rights = rights
        self.filters = filters
        self.frontier = 0
        self.over: Problem | None = None
        """Why the stream has to end."""
        self._news = asyncio.Event()

    async def news(self, seconds: float) -> bool:
        """Wait for a new frontier, or for the end, at most so long; return whether there was either."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        return True

    def advance(self, frontier: int) -> None:
        if frontier != self.frontier:
            self.frontier = frontier
            self._news.set()

    def end(self, problem: Problem) -> None:
        self.over = self.over or problem
        self._news.set()

    def recheck(self, reader: Reader | None, place: int) -> None:
        """Take over what the key gives right to now, or end; `place` is that among the customer's streams."""
        try:
            if reader is None:
                raise readers.unauthenticated()
            self.rights = may_stream(reader)
            if place > self.rights.streams:
                raise too_many(self.rights.streams)
        except Problem as problem:
            self.end(problem)


def may_stream(reader: Reader) -> Entitlement:
    """Return the rights of a reader that may stream. Raises Problem 403."""
    rights = reader.entitled()
    if not rights.streams:
        raise Problem(403, "streams_not_included", "The plan includes no streams.")
    return rights


def too_many(allowed: int) -> Problem:
    detail = f"The plan's streams ({allowed}) are open already."
    return Problem(429, "too_many_streams", detail, headers={"Retry-After": str(slots.TTL_S)})


@dataclass(frozen=True)
class Batch:
    """A page as Server-Sent Events: each event's position and bytes."""

    events: list[tuple[int, bytes]]
    position: int


def read(scope: Scope, filters: Filters, after: int) -> Batch:
    """Return the next page behind `after` as events."""
    page = feed.read(scope, filters, after, PAGE)
    events, size = [], 0
    for signal in page.signals:
        if size >= MOST_BYTES:
            break
        event = _event(signal_serializer.public(signal, scope))
        events.append((signal.position or 0, event))
        size += len(event)
    return Batch(events, page.cut(len(events)).position)


def _event(signal: signal_serializer.PublicSignal) -> bytes:
    # JSON has no line breaks, which would end the field.
    return b"id: %b\nevent: signal\ndata: %b\n\n" % (
        signal.cursor.encode(),
        signal_serializer.encoder.encode(signal),
    )


def progress(position: int) -> bytes:
    """Return an event without data: it moves the reader's Last-Event-ID and keeps the connection alive."""
    return b": keep-alive\nid: %b\n\n" % cursors.encode(position).encode()


class Tail:
    """What the streams of one process share. Belongs to one event loop."""

    def __init__(self) -> None:
        self.process = uuid4()
        self.followers: set[Follower] = set()
        self._poller: asyncio.Task[None] | None = None
        self._database = ThreadPoolExecutor(DATABASE_THREADS, "stream-database")
        self._pages: OrderedDict[object, asyncio.Task[Batch]] = OrderedDict()

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call what asks the database in one of its threads. Raises Outage."""

        def call() -> T:
            close_old_connections()
            with classified():
                return function(*args, **kwargs)

        return await asyncio.get_running_loop().run_in_executor(self._database, call)

    def join(self, follower: Follower) -> None:
        """Keep `follower` up to date from now on."""
        self.followers.add(follower)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    def leave(self, follower: Follower) -> None:
        self.followers.discard(follower)

    async def page(self, follower: Follower, after: int) -> Batch:
        """Return the next page for `follower`, read once for all that want the same. Raises Outage."""
        scope = follower.rights.scope
        key = (scope, follower.filters, after, follower.frontier)
        task = self._pages.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self.ask(read, scope, follower.filters, after))
            self._pages[key] = task
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
        return await asyncio.shield(task)

    async def _poll(self) -> None:
        """Go round while there are followers."""
        rechecked = time.monotonic()
        try:
            while self.followers:
                try:
                    await self._advance()
                    if time.monotonic() - rechecked >= RECHECK_S:
                        await self._recheck()
                        rechecked = time.monotonic()
                except Outage as outage:
                    logger.warning("streams wait for the database: %s", outage)
                    await asyncio.sleep(OUTAGE_WAIT_S)
                await asyncio.sleep(POLL_S)
        except Exception:
            logger.critical("the poller of the streams crashed; ending them", exc_info=True)
            for follower in list(self.followers):
                follower.end(unavailable("The stream broke on the hub's side; connect again."))

    async def _advance(self) -> None:
        delays = {follower.rights.scope.delay for follower in self.followers}
        frontiers = await self.ask(_frontiers, delays)
        for follower in self.followers:
            if (frontier := frontiers.get(follower.rights.scope.delay)) is not None:
                follower.advance(frontier)

    async def _recheck(self) -> None:
        asked = list(self.followers)
        places = await self.ask(slots.renew, self.process, [follower.lease for follower in asked])
        known = await self.ask(readers.readers, {follower.digest for follower in asked})
        for follower in [follower for follower in asked if follower in self.followers]:
            place = places.get(follower.lease) or await self._take_again(follower)
            follower.recheck(known.get(follower.digest), place)

    async def _take_again(self, follower: Follower) -> int:
        """Take a place anew for a stream whose lease another process cleared away during an outage.

        Returns what counts as its place: one that no plan has where there is none.
        """
        rights = follower.rights
        lease = await self.ask(slots.take, rights.customer_id, self.process, rights.streams)
        if lease is None:
            return rights.streams + 1
        follower.lease = lease
        if follower not in self.followers:  # it ended meanwhile
            await self.ask(slots.give_back, lease)
        return 1


def _frontiers(delays: set[timedelta]) -> dict[timedelta, int]:
    return ledger_window.frontiers(delays)
