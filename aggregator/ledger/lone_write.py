"""A lone request, recorded from the event loop that has received it, over a connection that is idle.

Switching to the writing thread and back takes such a request longer than all that Python does for it. What is
not plain is left to that thread: see `GroupCommit`.
"""

import asyncio
from collections.abc import Callable

import psycopg
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

from aggregator.ledger import sql
from aggregator.ledger.recording import Batch, NewSignals
from aggregator.postgres.pool import Connection

MAX_LONE_CHARS = 16_384
"""What the operating system takes at once, so that sending it never holds up the event loop."""


class LoneWrite:
    """One call of the ledger's function that is under way.

    `ended` is called by the event loop with what was recorded, or None where the call failed.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        batch: Batch,
        transport: str,
        ended: Callable[[NewSignals | None], None],
    ) -> None:
        """Send it. Raises psycopg.Error where the connection turns out to be broken."""
        self._loop = loop
        self._ended = ended
        self._result: PGresult | None = None
        self._pgconn: PGconn = connection.pgconn
        self._pgconn.send_query_params(
            sql.RECORD_LONE, [batch.inline.encode(), b"%d" % len(batch.validated), transport.encode(), None]
        )
        self._socket = self._pgconn.socket
        loop.add_reader(self._socket, self._read)

    def _read(self) -> None:
        try:
            self._pgconn.consume_input()
            while not self._pgconn.is_busy():
                result = self._pgconn.get_result()
                if result is None:
                    return self._end(_recorded(self._result))
                self._result = result
        except psycopg.Error:
            self._end(None)

    def _end(self, recorded: NewSignals | None) -> None:
        self._loop.remove_reader(self._socket)
        self._ended(recorded)


def _recorded(result: PGresult | None) -> NewSignals | None:
    if result is None or result.status != ExecStatus.TUPLES_OK:
        return None
    new, _, base = (result.get_value(0, 0) or b"").strip(b"()").partition(b",")
    return NewSignals(int(new), int(base))
