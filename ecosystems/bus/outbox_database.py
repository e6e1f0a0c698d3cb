"""The outbox's SQLite file: its schema, how it is opened and locked, and the meaning of its errors."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ecosystems.bus.transport import BusError
from ecosystems.http_errors import one_line

APPLICATION_ID = 0x53484F42
"""Marks the file as an outbox (SQLite's `application_id`): "SHOB"."""

SCHEMA_VERSION = 2

SCHEMA = f"""
CREATE TABLE signals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    ecosystem TEXT NOT NULL,
    signal_id TEXT NOT NULL,
    topic TEXT NOT NULL,
    payload BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    added_at TEXT NOT NULL
);
CREATE TABLE deliveries (
    transport TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'refused')),
    signal INTEGER NOT NULL REFERENCES signals (id) ON DELETE CASCADE,
    code TEXT NOT NULL DEFAULT '',
    detail TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (transport, state, signal)
) WITHOUT ROWID;
CREATE INDEX deliveries_of_signal ON deliveries (signal);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""
"""A signal stays while it has a delivery. AUTOINCREMENT: the id of a signal on its way is never reused."""

BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another program's, for instance of `manage.py outbox`."""


class OutboxError(BusError):
    """The outbox cannot be used; what is in it stays there."""


class OutboxFull(OutboxError):
    """The outbox has no room for more: a new signal is refused, an old one is never dropped."""


def connect(path: Path, *, create: bool) -> sqlite3.Connection:
    """Open the outbox at `path`, durable to the last commit (WAL, synchronous=FULL).

    Raises OutboxError when it is missing and `create` is off, is damaged, or is not an outbox.
    """
    with explained_errors(path):
        if create:
            path.touch(mode=0o600)
        elif not path.is_file():
            raise OutboxError(f"there is no outbox at {path}")
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
        )
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return connection


def lock(path: Path) -> sqlite3.Connection:
    """Return a lock on the outbox that ends with this process, however that ends.

    It is an SQLite lock too, on an empty file beside the outbox: portable, where `flock` is not, and the
    outbox itself stays open for `manage.py outbox`. Raises OutboxError when another process holds it.
    """
    with explained_errors(path):
        lock = sqlite3.connect(f"{path}.lock", timeout=0, isolation_level=None, check_same_thread=False)
        try:
            lock.execute("PRAGMA journal_mode = MEMORY")  # no journal beside a file that stays empty
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if _name(error) != "BUSY":
                raise
            raise OutboxError(
                f"the outbox {path} is used by another process: each agent needs its own"
            ) from error
        return lock


@contextmanager
def explained_errors(path: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into OutboxErrors that say what to do."""
    try:
        yield
    except sqlite3.Error as error:
        raise OutboxError(f"the outbox {path} {_meaning(error)}") from error
    except OSError as error:
        raise OutboxError(f"the outbox {path} cannot be opened: {error.strerror}") from error


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("BEGIN IMMEDIATE")
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if (application_id, version, tables) == (0, 0, 0):
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
    elif (application_id, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise OutboxError(f"{path} is a database, but not an outbox of this version: choose another path")
    connection.execute("COMMIT")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA journal_size_limit = 16777216")
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise OutboxError(f"the outbox {path} {_damaged(found)}")


def _damaged(reason: str) -> str:
    return (
        f"is damaged ({one_line(reason)}) and was left unchanged: move it away with its -wal file to "
        "continue with a new one; `sqlite3 FILE .recover` restores what can be read"
    )


def _meaning(error: sqlite3.Error) -> str:
    known = {
        "CORRUPT": _damaged(str(error)),
        "NOTADB": _damaged(str(error)),
        "FULL": "could not be written: the disk is full",
        "IOERR": f"could not be read or written: {error}",
        "BUSY": "is being written by another program for too long",
        "CANTOPEN": "cannot be opened for writing",
        "READONLY": "cannot be opened for writing",
    }
    return known.get(_name(error), f"cannot be used: {error}")


def _name(error: sqlite3.Error) -> str:
    """Return SQLite's name of the error, as `FULL` or `IOERR`; empty for an error of Python's own."""
    return str(getattr(error, "sqlite_errorname", "")).removeprefix("SQLITE_").partition("_")[0]
