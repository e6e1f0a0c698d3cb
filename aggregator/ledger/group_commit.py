"""Several requests, one transaction: a commit costs more than a row.

One thread writes. A request that finds it idle is written at once, so that a lone request never waits for
others; those that come during a transaction go into the next one together.
"""

import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from django.db import close_old_connections, connections
from structlog.contextvars import bound_contextvars

from aggregator import ledger
from aggregator.ledger import Entry, Outage, Result

MAX_GROUP_SIGNALS = 5000
"""Signals in one transaction; a request of more is one of its own."""
RECORD_TIMEOUT_S = 8.0
"""How long a request waits for its results: agents give up after ten seconds."""
CONNECTION_CHECK_INTERVAL_S = 1.0
"""How often the connection is checked, and replaced where it is old or dead: that costs a round trip."""
IDLE_TIMEOUT_S = 60.0
"""After how long without requests the connection is closed."""
MAX_LOGGED_REQUESTS = 20
"""Ids of requests in the log event of one transaction."""


class Ticket:
    """A request's entries on their way; `waiter` is what its sender waits for."""

    __slots__ = ("error", "is_withdrawn", "request_id", "results", "validated", "waiter")

    def __init__(self, validated: list[ledger.Validated], waiter: Any, request_id: str | None) -> None:
        self.validated = validated
        self.waiter = waiter
        self.request_id = request_id
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

    def _start(self) -> None:
        """Start the thread that writes: with the first request, since servers fork after they have loaded."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group-commit", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            group = self._next_group()
            if group:
                self._write(group)
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
        requests = [ticket.validated for ticket in waiting.values()]
        try:
            self._check_connection()
            with bound_contextvars(**_request_ids(group)):
                for answers in ledger.write_together(requests, self.transport):
                    for index, results in answers.items():
                        waiting[index].results = results
                    self._answered([waiting.pop(index) for index in answers])
        except BaseException as error:
            for ticket in waiting.values():
                ticket.error = error
            self._answered([*waiting.values()])

    def _check_connection(self) -> None:
        if time.monotonic() - self._checked_at > CONNECTION_CHECK_INTERVAL_S:
            close_old_connections()
            self._checked_at = time.monotonic()


def _request_ids(group: Sequence[Ticket]) -> dict[str, str]:
    """Return the ids of the requests of a group, for the log."""
    ids = [ticket.request_id for ticket in group[:MAX_LOGGED_REQUESTS] if ticket.request_id]
    if len(group) == 1 and ids:
        return {"request_id": ids[0]}
    return {"request_ids": ",".join(ids)} if ids else {}
