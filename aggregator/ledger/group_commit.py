"""Several requests, one transaction: a commit costs more than a row.

One thread writes. A request that finds it idle is written at once, so that a lone request never waits for
others; those that come during a transaction go into the next one together. An event loop may use the thread's
connection while that has nothing to do, for a lone request (`LoneWrite`).
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from django.db import connection, connections
from structlog.contextvars import bound_contextvars

from aggregator import ledger
from aggregator.ledger import Batch, Entry, Outage, Result
from aggregator.ledger.record import log_batch
from aggregator.ledger.recording import NewSignals
from aggregator.postgres.pool import Connection, is_alive, release_connections, serve_signals

MAX_GROUP_SIGNALS = 5000
"""Signals in one transaction; a request of more is one of its own."""
RECORD_TIMEOUT_S = 8.0
"""How long a request waits for its results: agents give up after ten seconds."""
CONNECTION_CHECK_INTERVAL_S = 1.0
"""How often the connection is released and acquired anew, which replaces one that is dead."""
IDLE_TIMEOUT_S = 60.0
"""After how long without requests the connection is released."""
MAX_LOGGED_REQUESTS = 20
"""Ids of requests in the log event of one transaction."""


class Ticket:
    """A request's entries on their way; `waiter` is what its sender waits for."""

    __slots__ = ("error", "is_withdrawn", "recorded", "request_id", "results", "validated", "waiter")

    def __init__(self, validated: list[ledger.Validated], waiter: Any, request_id: str | None) -> None:
        self.validated = validated
        self.waiter = waiter
        self.request_id = request_id
        self.recorded: tuple[Batch, NewSignals] | None = None
        """What of it a LoneWrite has recorded already."""
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.is_withdrawn = False

    def outcome(self) -> list[Result]:
        """Return the results; raise what prevented them."""
        if self.error is not None:
            raise self.error
        return self.results

    def withdraw(self) -> Outage:
        """Leave the queue, if it is still there; return the error for the sender."""
        self.is_withdrawn = True
        return Outage("the database did not answer in time")


def _release(group: Sequence[Ticket]) -> None:
    for ticket in group:
        ticket.waiter.release()


class GroupCommit:
    """Records together what concurrent requests submit.

    `answered` is called by the writing thread with the tickets of each transaction that is over.
    """

    def __init__(self, transport: str, answered: Callable[[Sequence[Ticket]], None] = _release) -> None:
        self.transport = transport
        self._answered = answered
        self._queue: SimpleQueue[Ticket] = SimpleQueue()
        self._left_over: Ticket | None = None
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._checked_at = 0.0
        self._writing = threading.Lock()
        """Held by who uses the thread's connection."""
        self._connection: Connection | None = None
        """The thread's connection, after it has written."""

    def record(
        self, entries: Sequence[Entry], timeout_s: float = RECORD_TIMEOUT_S, request_id: str | None = None
    ) -> list[Result]:
        """Do what `ledger.record` does, together with others; raises Outage also after `timeout_s`."""
        # An Event costs three times as much.
        asleep = threading.Lock()
        asleep.acquire()
        ticket = Ticket(ledger.validate(entries), asleep, request_id)
        self.submit(ticket)
        if not asleep.acquire(timeout=timeout_s):
            raise ticket.withdraw()
        return ticket.outcome()

    def submit(self, ticket: Ticket) -> None:
        """Queue a ticket and return at once."""
        if self._thread is None:
            self._start()
        self._queue.put(ticket)

    def acquire_connection(self) -> Connection | None:
        """Return the thread's connection, which the thread leaves alone until `release_connection`.

        None where it is in use, or where there is none that works.
        """
        if not self._writing.acquire(blocking=False):
            return None
        if self._connection is None or not is_alive(self._connection):
            self._writing.release()
            return None
        return self._connection

    def release_connection(self, *, is_sound: bool = True) -> None:
        """Let the thread use its connection; it is replaced first where it may be broken."""
        if not is_sound:
            self._checked_at = 0.0
        self._writing.release()

    def _start(self) -> None:
        """Start the thread that writes: with the first request, since servers fork after they have loaded."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        serve_signals()
        while True:
            group = self._next_group()
            with self._writing:
                self._connection = None
                if group:
                    self._write(group)
                    self._connection = connection.connection
                else:
                    connections.close_all()

    def _next_group(self) -> list[Ticket]:
        """Wait for tickets and return those of the next transaction; none after IDLE_TIMEOUT_S."""
        group: list[Ticket] = []
        size = 0
        try:
            ticket = self._left_over or self._queue.get(timeout=IDLE_TIMEOUT_S)
            self._left_over = None
            while not group or size + len(ticket.validated) <= MAX_GROUP_SIGNALS:
                group.append(ticket)
                size += len(ticket.validated)
                ticket = self._queue.get_nowait()
            self._left_over = ticket
        except Empty:
            pass
        return group

    def _write(self, group: Sequence[Ticket]) -> None:
        """Record the tickets that wait still, and answer each as soon as its results are known."""
        waiting = dict(enumerate(ticket for ticket in group if not ticket.is_withdrawn))
        try:
            if time.monotonic() - self._checked_at > CONNECTION_CHECK_INTERVAL_S:
                release_connections()
                self._checked_at = time.monotonic()
            with bound_contextvars(**_request_ids(group)):
                for answers in self._record(waiting):
                    for index, results in answers.items():
                        waiting[index].results = results
                    self._answered([waiting.pop(index) for index in answers])
                    if len(group) == 1:
                        time.sleep(0)  # the thread that sends the answer goes before the log event
        except BaseException as error:
            for ticket in waiting.values():
                ticket.error = error
            self._answered([*waiting.values()])

    def _record(self, waiting: Mapping[int, Ticket]) -> Iterator[dict[int, list[Result]]]:
        """Yield the results of tickets by their index, as they become known."""
        partly = {index: ticket.recorded for index, ticket in waiting.items() if ticket.recorded}
        for index, (batch, recorded) in partly.items():
            results = ledger.finish(batch, recorded, self.transport)
            yield {index: results}
            log_batch(results, self.transport)
        rest = [index for index in waiting if index not in partly]
        for answers in ledger.write_together([waiting[index].validated for index in rest], self.transport):
            yield {rest[number]: found for number, found in answers.items()}


def log_lone(ticket: Ticket, transport: str) -> None:
    """Log a request that was recorded by itself."""
    with bound_contextvars(**_request_ids([ticket])):
        log_batch(ticket.results, transport)


def _request_ids(group: Sequence[Ticket]) -> dict[str, str]:
    """Return the ids of the requests of a group, for the log."""
    ids = [ticket.request_id for ticket in group[:MAX_LOGGED_REQUESTS] if ticket.request_id]
    if len(group) == 1 and ids:
        return {"request_id": ids[0]}
    return {"request_ids": ",".join(ids)} if ids else {}
