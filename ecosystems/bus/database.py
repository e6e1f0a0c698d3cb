"""The database transport: rows of `trading_signals`, as the contract's section 3 makes its columns public."""

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from ecosystems import ECOSYSTEMS
from ecosystems.bus.transport import (
    CONFIRMED,
    BusError,
    Entry,
    Fate,
    Postponed,
    Refused,
    Transport,
    halves,
    send_in_turn,
)
from ecosystems.http_errors import one_line
from ecosystems.signal import Signal

INSERT_BATCH = 1000

REFUSING_SQLSTATES = ("22", "23", "42501")
"""SQLSTATEs that concern the row: bad data, a broken constraint, an ecosystem that the role may not write.

Everything else is an outage, or a server to be repaired, after which the rows can be inserted.
"""

CONNECTION: dict[str, Any] = {
    "application_name": "signal-hub-agent",
    "connect_timeout": 5,
    # A lost connection is noticed within half a minute, not after two hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""Defaults that the URL's own parameters override."""

TRIES = 3
"""Of a statement that Postgres asks to be run again: another one inserted the same signal at that moment."""

# One statement whatever the number of rows, so one round trip and one transaction. No conflict target and no
# RETURNING: both would ask for the right to read, which an agent's role does not have. The fields are the
# signal's own, their types the table's.
INSERT = sql.SQL("""
INSERT INTO trading_signals ({fields})
SELECT {fields} FROM json_populate_recordset(NULL::trading_signals, %s::json)
ON CONFLICT DO NOTHING
""").format(fields=sql.SQL(", ").join(map(sql.Identifier, Signal.__struct_fields__)))


class DatabaseTransport(Transport):
    """Inserts rows, also as a role that may do nothing but insert its own ecosystem's, and through a pooler.

    A row whose identity is in the table already counts as confirmed. Such a role cannot read what is there:
    the database keeps the row for the hub, which counts a duplicate and makes a conflict a dead letter.
    """

    def __init__(self, url: str, *, ecosystems: Iterable[str] = ECOSYSTEMS, name: str = "database") -> None:
        """`url` is `postgres://…`; `ecosystems` are those whose rows belong in that database.

        Connects at the first use. Raises BusError for a URL that Postgres's client does not understand.
        """
        self.name = name
        self.ecosystems = frozenset(ecosystems)
        self.connection: psycopg.Connection | None = None
        try:
            self._options = CONNECTION | conninfo_to_dict(url)
        except psycopg.ProgrammingError as error:
            # Other texts of libpq may quote the URL, and with it the password.
            known = str(error).startswith("invalid URI query parameter")
            why = str(error) if known else "it may hold postgres://user:password@host:5432/name"
            raise BusError(f"the database URL is not valid: {why.strip()}") from None

    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        starts = range(0, len(entries), INSERT_BATCH)
        return send_in_turn(self._insert, (entries[start : start + INSERT_BATCH] for start in starts))

    def _insert(self, batch: Sequence[Entry]) -> list[Fate]:
        """Insert a batch, in halves where one of its rows is refused."""
        try:
            self._execute(batch)
        except psycopg.Error as error:
            if not (error.sqlstate or "").startswith(REFUSING_SQLSTATES):
                self.close()
                return [Postponed(_reason(error))] * len(batch)
            if len(batch) == 1:
                return [Refused(f"sqlstate_{error.sqlstate}", _reason(error))]
            return send_in_turn(self._insert, halves(batch))
        return [CONFIRMED] * len(batch)

    def _execute(self, batch: Sequence[Entry]) -> None:
        rows = f"[{b','.join([entry.signal().to_json() for entry in batch]).decode()}]"
        for _ in range(TRIES - 1):
            try:
                return self._insert_rows(rows)
            except psycopg.errors.SerializationFailure:
                pass
        return self._insert_rows(rows)

    def _insert_rows(self, rows: str) -> None:
        reused = self.connection is not None
        try:
            self._connect().execute(INSERT, [rows])
        except psycopg.OperationalError:
            # A connection that lay idle may have been closed by the server, a pooler or a firewall.
            if not reused or self.connection is None or not self.connection.closed:
                raise
            self.close()
            self._connect().execute(INSERT, [rows])

    def _connect(self) -> psycopg.Connection:
        if self.connection is None:
            # Prepared statements do not survive a transaction pooler.
            try:
                self.connection = psycopg.connect(**self._options, autocommit=True, prepare_threshold=None)
            except UnicodeError as error:  # of a host name such as `a..b`
                raise psycopg.OperationalError(one_line(error)) from error
        return self.connection

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def _reason(error: psycopg.Error) -> str:
    """Return the error in one line without the row's values, which Postgres puts into the detail."""
    return one_line(error.diag.message_primary or error)
