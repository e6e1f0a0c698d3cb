"""Several requests, one transaction: a commit costs more than a row.

A request that finds no transaction under way writes at once, so that a lone request never waits for others.
One that comes during a transaction queues, and all of the queue goes into the next transaction.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from structlog.contextvars import bound_contextvars, get_contextvars

from aggregator import ledger
from aggregator.ledger import Entry, Outage, Result

MAX_GROUP_SIGNALS = 5000
"""Signals in one transaction; a request of more is one of its own."""
RECORD_TIMEOUT_S = 8.0
"""How long a request waits for its turn: agents give up after ten seconds."""
CONNECTION_CHECK_INTERVAL_S = 1.0
"""How often the connection is checked, and replaced where it is old or dead: that costs a round trip."""
MAX_LOGGED_REQUESTS = 20
"""Ids of requests in the log event of one transaction."""


class _Ticket:
    def __init__(self, validated: list[ledger.Validated]) -> None:
        self.validated = validated
        self.request_id: str | None = get_contextvars().get("request_id")
        # Held until the ticket is answered or leads: an Event costs three times as much.
        self.asleep = threading.Lock()
        self.asleep.acquire()
        self.leads = False
        self.results: list[Result] | None = None
        self.error: BaseException | None = None


class GroupCommit:
    """Records the entries of concurrent threads together."""

    def __init__(self, transport: str) -> None:
        self.transport = transport
        self._lock = threading.Lock()
        self._queue: list[_Ticket] = []
        self._writing = False
        self._connection: BaseDatabaseWrapper | None = None
        self._checked_at = 0.0

    def record(self, entries: Sequence[Entry]) -> list[Result]:
        """Do what `ledger.record` does, together with others; raises Outage also after RECORD_TIMEOUT_S."""
        ticket = _Ticket(ledger.validate(entries))
        with self._lock:
            self._queue.append(ticket)
            ticket.leads, self._writing = not self._writing, True
        if not ticket.leads and not ticket.asleep.acquire(timeout=RECORD_TIMEOUT_S):
            self._withdraw(ticket)
        if ticket.leads:
            self._lead()
        if ticket.error is not None:
            raise ticket.error
        assert ticket.results is not None, "the group's leader answers all tickets in it"
        return ticket.results

    def _lead(self) -> None:
        """Write the queue, the caller's ticket first, and pass the lead to the first that came since."""
        with self._lock:
            group = self._next_group()
        try:
            with self._connected(), bound_contextvars(**_request_ids(group)):
                batch = ledger.Batch([validated for ticket in group for validated in ticket.validated])
                results = ledger.write(batch, self.transport)
            for ticket in group:
                ticket.results, results = results[: len(ticket.validated)], results[len(ticket.validated) :]
        except BaseException as error:
            for ticket in group:
                ticket.error = error
        finally:
            with self._lock:
                self._writing = bool(self._queue)
                if self._queue:
                    self._queue[0].leads = True
                    self._queue[0].asleep.release()
            for ticket in group[1:]:
                ticket.asleep.release()

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Lend the group's own connection to a thread that has none; only one writes at a time.

        A connection for each thread that ever leads would cost the server hundreds of them.
        """
        before = connections[DEFAULT_DB_ALIAS]
        if before.connection is None:
            if self._connection is None:
                self._connection = connections.create_connection(DEFAULT_DB_ALIAS)
                self._connection.inc_thread_sharing()
            connections[DEFAULT_DB_ALIAS] = self._connection
        try:
            if time.monotonic() - self._checked_at > CONNECTION_CHECK_INTERVAL_S:
                close_old_connections()
                self._checked_at = time.monotonic()
            yield
        finally:
            connections[DEFAULT_DB_ALIAS] = before

    def _next_group(self) -> list[_Ticket]:
        size, count = 0, 0
        for ticket in self._queue:
            size += len(ticket.validated)
            if count and size > MAX_GROUP_SIGNALS:
                break
            count += 1
        group, self._queue = self._queue[:count], self._queue[count:]
        return group

    def _withdraw(self, ticket: _Ticket) -> None:
        """Leave the queue and raise Outage, unless the ticket was given the lead just now."""
        with self._lock:
            if ticket.leads:
                return
            if ticket in self._queue:
                self._queue.remove(ticket)
        raise Outage("the database did not answer in time")


def _request_ids(group: Sequence[_Ticket]) -> dict[str, str]:
    """Return the ids of the requests of a group, for the log; of a lone one its own context has the id."""
    ids = [ticket.request_id for ticket in group[:MAX_LOGGED_REQUESTS] if ticket.request_id]
    return {"request_ids": ",".join(ids)} if len(group) > 1 and ids else {}
