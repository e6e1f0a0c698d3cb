"""The outbox: signals that were published and not yet confirmed, kept in an SQLite file beside the agent."""

import logging
import sqlite3
import threading
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ecosystems import ROOT
from ecosystems.bus.outbox_database import OutboxFull, connect, explained_errors, lock
from ecosystems.bus.transport import Confirmed, Entry, Fate, Refused

OUTBOX_FOLDER = ROOT / ".data" / "outbox"
"""The default folder of agents' outboxes, one file `<agent>.sqlite3` each."""

MAX_OUTBOX_BYTES = 256 * 1024 * 1024
"""Room for some 400,000 usual signals."""

DAMAGED = Refused("damaged", "the outbox's file was changed by something else: the checksum is wrong")

logger = logging.getLogger("signal_hub.bus")

Routes = Mapping[str, Sequence[str]]
"""Ecosystem to the names of the transports that carry its signals."""


@dataclass(frozen=True)
class OutboxEntry:
    """A signal in the outbox and the state of its delivery by one transport."""

    id: int
    """Grows in the order of publishing."""
    entry: Entry
    added_at: str
    transport: str
    state: str
    """`pending` or `refused`."""
    code: str
    detail: str


class Outbox:
    """Keeps each signal until every transport has confirmed it, per transport and in order.

    One process publishes through a file; others may read it with `owner=False`. Safe for several
    threads. Every method raises OutboxError when the file cannot be used; what is in it stays.
    """

    def __init__(self, path: Path | str, *, max_bytes: int = MAX_OUTBOX_BYTES, owner: bool = True) -> None:
        """Open the file, or create it as its owner. Raises OutboxError."""
        self.path = Path(path).expanduser().resolve()
        self._max_bytes = max_bytes
        self._mutex = threading.RLock()
        if owner:
            with explained_errors(self.path):
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = lock(self.path) if owner else None
        try:
            self.connection = connect(self.path, create=owner)
        except BaseException:
            if self._lock is not None:
                self._lock.close()
            raise

    def put(self, entries: Sequence[Entry], routes: Routes) -> None:
        """Add entries, all or none; they are on the disk when this returns.

        Raises OutboxFull when they do not fit: nothing that is inside is dropped to make room.
        """
        added_at = datetime.now(UTC).isoformat(timespec="seconds")
        with self._transaction() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'signals'").fetchone()
            numbered = list(enumerate(entries, start=(row[0] if row else 0) + 1))
            connection.executemany(
                "INSERT INTO signals VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    (number, *(e.ecosystem, e.signal_id, e.topic, e.payload), zlib.crc32(e.payload), added_at)
                    for number, e in numbered
                ),
            )
            connection.executemany(
                "INSERT INTO deliveries (transport, state, signal) VALUES (?, 'pending', ?)",
                ((name, number) for number, entry in numbered for name in routes[entry.ecosystem]),
            )
            if self._bytes() > self._max_bytes:
                raise OutboxFull(
                    f"the outbox {self.path} is full ({self._max_bytes:,} bytes): new signals are refused "
                    "until the hub has received what waits there"
                )

    def pending(self, transport: str, limit: int) -> list[tuple[int, Entry]]:
        """Return the ids and entries that `transport` shall send next, oldest first.

        An entry that has changed since it was added is marked as refused.
        """
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, ecosystem, signal_id, topic, CAST(payload AS BLOB), checksum "
                "FROM deliveries JOIN signals ON id = signal "
                "WHERE transport = ? AND state = 'pending' ORDER BY signal LIMIT ?",
                (transport, limit),
            ).fetchall()
        damaged = [row[0] for row in rows if zlib.crc32(row[4]) != row[5]]
        if damaged:
            logger.error(
                "EventBus: signals %s of the outbox %s are damaged and marked as refused", damaged, self.path
            )
            self.record(transport, [(number, DAMAGED) for number in damaged])
            return self.pending(transport, limit)
        return [(row[0], Entry(*row[1:5])) for row in rows]

    def record(self, transport: str, fates: Iterable[tuple[int, Fate]]) -> None:
        """Remove what `transport` confirmed, mark what it refused, keep the rest as it is."""
        fates = list(fates)
        confirmed = [(transport, number) for number, fate in fates if isinstance(fate, Confirmed)]
        refused = [
            (fate.code, fate.detail, transport, number) for number, fate in fates if isinstance(fate, Refused)
        ]
        with self._transaction() as connection:
            connection.executemany(
                "DELETE FROM deliveries WHERE transport = ? AND state = 'pending' AND signal = ?", confirmed
            )
            connection.executemany(
                "UPDATE deliveries SET state = 'refused', code = ?, detail = ? "
                "WHERE transport = ? AND state = 'pending' AND signal = ?",
                refused,
            )
            connection.executemany(
                "DELETE FROM signals WHERE id = ?1 "
                "AND NOT EXISTS (SELECT 1 FROM deliveries WHERE signal = ?1)",
                ((number,) for _, number in confirmed),
            )

    def reassign(self, routes: Routes) -> None:
        """Assign what waits for transports that are not in `routes` to those that are.

        So an agent keeps its backlog when its transport is changed. Where the former transport had sent a
        signal already, the ledger counts a duplicate.
        """
        names = {name for transports in routes.values() for name in transports}
        with self._transaction() as connection:
            orphans = [
                (number, transport, ecosystem)
                for number, transport, ecosystem in connection.execute(
                    "SELECT signal, transport, ecosystem FROM deliveries JOIN signals ON id = signal "
                    "WHERE state = 'pending'"
                )
                if transport not in names and routes.get(ecosystem)
            ]
            connection.executemany(
                "INSERT INTO deliveries (transport, state, signal) SELECT ?1, 'pending', ?2 "
                "WHERE NOT EXISTS (SELECT 1 FROM deliveries WHERE transport = ?1 AND signal = ?2)",
                ((name, number) for number, _, ecosystem in orphans for name in routes[ecosystem]),
            )
            connection.executemany(
                "DELETE FROM deliveries WHERE signal = ? AND transport = ? AND state = 'pending'",
                ((number, transport) for number, transport, _ in orphans),
            )

    def counts(self) -> dict[tuple[str, str], int]:
        """Return how many signals there are by (transport, state)."""
        with self._reading() as connection:
            rows = connection.execute("SELECT transport, state, count(*) FROM deliveries GROUP BY 1, 2")
            return {(transport, state): count for transport, state, count in rows}

    def entries(
        self, state: str | None = None, number: int | None = None, limit: int = -1
    ) -> Iterator[OutboxEntry]:
        """Return what is inside, oldest first; optionally of one state or of one signal."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT id, ecosystem, signal_id, topic, CAST(payload AS BLOB), added_at, "
                "transport, state, code, detail "
                "FROM signals JOIN deliveries ON signal = id "
                "WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR id = ?2) "
                "ORDER BY id, transport LIMIT ?3",
                (state, number, limit),
            ).fetchall()
        return (OutboxEntry(row[0], Entry(*row[1:5]), *row[5:]) for row in rows)

    def retry(self, numbers: Iterable[int] | None = None) -> int:
        """Make refused signals pending again, by default all of them; return the number of deliveries."""
        change = "UPDATE deliveries SET state = 'pending', code = '', detail = '' WHERE state = 'refused'"
        with self._transaction() as connection:
            if numbers is None:
                return connection.execute(change).rowcount
            rows = [connection.execute(f"{change} AND signal = ?", (number,)) for number in numbers]
            return sum(row.rowcount for row in rows)

    def drop(self, number: int) -> None:
        """Delete a signal, whatever waits for it."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM signals WHERE id = ?", (number,))

    def refused(self) -> list[int]:
        """Return the ids of signals that were refused and wait for no transport, oldest first."""
        with self._reading() as connection:
            rows = connection.execute(
                "SELECT signal FROM deliveries GROUP BY signal HAVING NOT max(state = 'pending') "
                "ORDER BY signal"
            )
            return [number for (number,) in rows]

    def close(self) -> None:
        with self._mutex:
            self.connection.close()
            if self._lock is not None:
                self._lock.close()

    def _bytes(self) -> int:
        """Return how much of the file is in use; free pages are filled again."""
        pages, free, size = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, explained_errors(self.path):
            yield self.connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit everything that is done inside, or nothing."""
        with self._mutex, explained_errors(self.path):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:  # SQLite itself rolls back when the disk is full
                    self.connection.execute("ROLLBACK")
                raise
