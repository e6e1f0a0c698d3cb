"""New signals, looked for once for all open streams of a process.

One task polls the frontiers of the ledger and checks which keys are still valid; streams wait for its events.
A page is read once for all streams with the same scope, filters and cursor. So the number of idle streams
does not change what they cost the database.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import ParamSpec, TypeVar
from uuid import UUID, uuid4

from aggregator.http.problems import Problem, unavailable
from aggregator.ledger.errors import Outage, classified
from aggregator.ledger.generations import ledger_head
from aggregator.postgres.pool import call_and_release, serve_signals
from commerce import feed, ledger_window, readers
from commerce.entitlements import Entitlement, Scope
from commerce.feed import Filters, cursors, outcome_pages, signal_serializer
from commerce.feed.outcome_serializer import serialize_outcome
from commerce.ledger_window import Place
from commerce.readers import Reader
from commerce.streaming import slots

T = TypeVar("T")
P = ParamSpec("P")
logger = logging.getLogger("signal_hub.stream")

NO_DELAY = timedelta(0)
POLL_INTERVAL_S = 0.25
RECHECK_INTERVAL_S = 2.0
"""How often the keys and subscriptions of open streams are checked again."""
OUTAGE_INTERVAL_S = 2.0
MAX_DATABASE_THREADS = 2
"""As many as the process has connections."""
MAX_PAGE_SIGNALS = 50
MAX_PAGE_BYTES = 262_144
"""A page ends with the signal that exceeds it: a client that stops reading holds one page in memory, and one
signal may have 64 KiB."""
MAX_PAGES_KEPT = 64


@dataclass(eq=False)
class Subscriber:
    """An open stream, as far as the broadcaster knows it."""

    key_digest: bytes
    slot: UUID
    entitlement: Entitlement
    filters: Filters
    place: Place
    """Up to where the stream has read."""
    frontier: Place
    outcomes: bool
    """Whether it gets what is decided of calls, too."""
    end_reason: Problem | None = None
    """Why the stream has to end; None while it may go on."""
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.place, self.frontier = self._wanted_of(self.place), self._wanted_of(self.frontier)

    async def wait(self, seconds: float) -> None:
        """Wait until the frontier moves or the stream has to end, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        self._changed.clear()

    def _wanted_of(self, place: Place) -> Place:
        """Return a place as far as it concerns the stream."""
        return place if self.outcomes else place._replace(decided=0)

    def advance(self, frontier: Place) -> None:
        frontier = self._wanted_of(frontier)
        if frontier != self.frontier:
            self.frontier = frontier
            self._changed.set()

    def end(self, reason: Problem) -> None:
        self.end_reason = self.end_reason or reason
        self._changed.set()

    def update(self, reader: Reader | None, rank: int) -> None:
        """Apply the entitlement that the key has now, or end; `rank` is that of the stream's slot."""
        try:
            if reader is None:
                raise readers.unauthenticated()
            self.entitlement = streaming_entitlement(reader)
            if rank > self.entitlement.streams:
                raise too_many_streams(self.entitlement.streams)
        except Problem as problem:
            self.end(problem)


def streaming_entitlement(reader: Reader) -> Entitlement:
    """Return the entitlement of a reader that may stream. Raises Problem 403."""
    entitlement = reader.require_entitlement()
    if not entitlement.streams:
        raise Problem(403, "streams_not_included", "The plan includes no streams.")
    return entitlement


def too_many_streams(allowed: int) -> Problem:
    detail = f"The plan's streams ({allowed}) are open already."
    return Problem(429, "too_many_streams", detail, headers={"Retry-After": str(slots.SLOT_TIMEOUT_S)})


@dataclass(frozen=True)
class EventPage:
    """A page as Server-Sent Events: the place behind each event, and its bytes."""

    events: list[tuple[Place, bytes]]
    place: Place


def read_events(scope: Scope, filters: Filters, after: Place, frontier: Place) -> EventPage:
    """Return the next page between two places as events: signals, then what was decided of them."""
    if after.position >= frontier.position:
        return _read_decisions(scope, filters, after, frontier)
    page = feed.read(scope, filters, after.position, MAX_PAGE_SIGNALS)
    events, size = [], 0
    for signal in page.signals:
        if size >= MAX_PAGE_BYTES:
            break
        place = after._replace(position=signal.position or 0)
        data = signal_serializer.encoder.encode(signal_serializer.serialize(signal))
        events.append((place, _event(place, frontier, b"signal", data)))
        size += len(events[-1][1])
    return EventPage(events, after._replace(position=page.cut(len(events)).position))


def _read_decisions(scope: Scope, filters: Filters, after: Place, frontier: Place) -> EventPage:
    upto = after._replace(decided=frontier.decided)
    found, passed = outcome_pages.decisions(scope, filters.condition(), after.decided, upto, MAX_PAGE_SIGNALS)
    events = []
    for event, call in found:
        place = after._replace(decided=event.pk)
        data = signal_serializer.encoder.encode(serialize_outcome(call, event))
        events.append((place, _event(place, frontier, b"outcome.decided", data)))
    return EventPage(events, after._replace(decided=passed))


def _event(place: Place, frontier: Place, kind: bytes, data: bytes) -> bytes:
    # JSON has no line breaks, which would end the `data` field.
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (_cursor(place, frontier), kind, data)


def cursor_event(place: Place, frontier: Place) -> bytes:
    """Return an event without data: it moves the client's Last-Event-ID and keeps the connection alive."""
    return b": keep-alive\nid: %b\n\n" % _cursor(place, frontier)


def _cursor(place: Place, frontier: Place) -> bytes:
    """Return the cursor of a place; while nothing was decided, that of its position says all."""
    text = cursors.encode_place(place) if frontier.decided else cursors.encode(place.position)
    return text.encode()


class Broadcaster:
    """What the streams of one process share. Belongs to one event loop."""

    def __init__(self) -> None:
        self.process = uuid4()
        self.subscribers: set[Subscriber] = set()
        self._poller: asyncio.Task[None] | None = None
        self._database = ThreadPoolExecutor(MAX_DATABASE_THREADS, "stream-database", serve_signals)
        self._pages: OrderedDict[object, asyncio.Task[EventPage]] = OrderedDict()

    async def in_database_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function that uses the database returns, called in a thread. Raises Outage."""

        call = partial(call_and_release, classified()(function), *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._database, call)

    def add(self, subscriber: Subscriber) -> None:
        """Keep `subscriber` up to date from now on."""
        self.subscribers.add(subscriber)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())

    async def page(self, subscriber: Subscriber) -> EventPage:
        """Return the next page for `subscriber`, read once for all that need the same. Raises Outage."""
        key = (subscriber.entitlement.scope, subscriber.filters, subscriber.place, subscriber.frontier)
        task = self._pages.get(key)
        if task is None or (task.done() and (task.cancelled() or task.exception())):
            task = asyncio.create_task(self.in_database_thread(read_events, *key))
            self._pages[key] = task
            if len(self._pages) > MAX_PAGES_KEPT:
                self._pages.popitem(last=False)
        return await asyncio.shield(task)

    async def _poll(self) -> None:
        """Update the subscribers while there are any."""
        rechecked = time.monotonic()
        try:
            while self.subscribers:
                try:
                    await self._advance()
                    if time.monotonic() - rechecked >= RECHECK_INTERVAL_S:
                        await self._recheck()
                        rechecked = time.monotonic()
                except Outage as outage:
                    logger.warning("streams wait for the database: %s", outage)
                    await asyncio.sleep(OUTAGE_INTERVAL_S)
                await asyncio.sleep(POLL_INTERVAL_S)
        except Exception:
            logger.critical("polling for streams crashed; ending all streams", exc_info=True)
            for subscriber in list(self.subscribers):
                subscriber.end(unavailable("The stream failed in the hub; connect again."))

    async def _advance(self) -> None:
        delays = {subscriber.entitlement.scope.delay for subscriber in self.subscribers} | {NO_DELAY}
        frontiers = await self.in_database_thread(ledger_window.frontiers, delays)
        newest = frontiers[NO_DELAY].position
        if any(subscriber.place.position > newest for subscriber in self.subscribers):
            # The ledger may have been restored to an earlier state, of which they have passed the end.
            head = await self.in_database_thread(ledger_head)
            for subscriber in self.subscribers:
                if subscriber.place.position > head:
                    subscriber.end(cursors.cursor_ahead())
        for subscriber in self.subscribers:
            if (frontier := frontiers.get(subscriber.entitlement.scope.delay)) is not None:
                subscriber.advance(frontier)

    async def _recheck(self) -> None:
        checked = list(self.subscribers)
        ranks = await self.in_database_thread(
            slots.renew, self.process, [subscriber.slot for subscriber in checked]
        )
        digests = {subscriber.key_digest for subscriber in checked}
        found = await self.in_database_thread(readers.find_readers, digests)
        for subscriber in checked:
            if subscriber in self.subscribers:
                rank = ranks.get(subscriber.slot) or await self._acquire_again(subscriber)
                subscriber.update(found.get(subscriber.key_digest), rank)

    async def _acquire_again(self, subscriber: Subscriber) -> int:
        """Acquire a new slot for a stream whose slot another process deleted as expired after an outage.

        Returns its rank: without a free slot, one above what the plan allows.
        """
        entitlement = subscriber.entitlement
        slot = await self.in_database_thread(
            slots.acquire, entitlement.customer_id, self.process, entitlement.streams
        )
        if slot is None:
            return entitlement.streams + 1
        subscriber.slot = slot
        if subscriber not in self.subscribers:  # it ended while the slot was acquired
            await self.in_database_thread(slots.release, slot)
        return 1
