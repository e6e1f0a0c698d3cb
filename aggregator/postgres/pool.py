"""The connections of this process to Postgres: no more than a number, and none that is idle for long.

psycopg's own pool keeps why a server refuses to itself until its timeout is over, and passes connections
round, while the ledger's function keeps its plans by session. Here a thread connects by itself and gets the
server's error at once, and the connection that was released last is acquired first.
"""

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from typing import ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from django.conf import settings
from django.db import connections
from psycopg.pq import TransactionStatus

Connection = psycopg.Connection[tuple[object, ...]]
_P = ParamSpec("_P")
_T = TypeVar("_T")

MAX_IDLE_S = 30.0
WAIT_TIMEOUT_S = 10.0

logger = logging.getLogger("signal_hub.database")

max_connections: int | None = None


class _Thread(threading.local):
    serves_signals = False


_thread = _Thread()


def limit_connections(most: int | None = None) -> None:
    """Limit this process to `CORE_DB_CONNECTIONS` connections to a database, or to `most` if that is less.

    For servers and workers; a command opens one or two and needs no limit.
    """
    global max_connections
    max_connections = min(settings.ENVIRONMENT.db_connections, most or settings.ENVIRONMENT.db_connections)


def serve_signals() -> None:
    """Let this thread use any connection; others leave half of them to threads that have called this."""
    _thread.serves_signals = True


class Pool:
    """The connections to one database with one login and its options. For any number of threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[tuple[Connection, float]] = []
        """With when each was released; the youngest last."""
        self._acquired: WeakKeyDictionary[Connection, bool] = WeakKeyDictionary()
        """With whether the thread serves signals. A thread may end without releasing its connection: it is
        closed with the thread's last object."""
        self._connecting = {True: 0, False: 0}
        """How many threads are about to have one, by whether they serve signals."""
        self._reaper: threading.Thread | None = None

    def acquire(self, connect: Callable[[], Connection]) -> Connection:
        """Return an idle connection that works, else a new one from `connect`.

        Waits WAIT_TIMEOUT_S for one of the others where the limit is reached. Raises
        psycopg.OperationalError then, and what `connect` raises.
        """
        connection = self._reserve()
        try:
            if connection is not None and not is_alive(connection):
                connection.close()
                self.close_idle()  # a server that has gone has left all of them dead
                connection = None
            connection = connection or connect()
        finally:
            with self._changed:
                self._connecting[_thread.serves_signals] -= 1
                if connection is not None:
                    self._acquired[connection] = _thread.serves_signals
                else:
                    self._changed.notify_all()
        return connection

    def release(self, connection: Connection) -> None:
        """Keep a connection for the next thread, or close one that is broken or in a transaction."""
        if not connection.closed and connection.info.transaction_status == TransactionStatus.IDLE:
            connection.autocommit = True
        else:
            connection.close()
        with self._changed:
            self._acquired.pop(connection, None)
            if not connection.closed:
                self._idle.append((connection, time.monotonic()))
                if self._reaper is None:
                    self._reaper = threading.Thread(target=self._reap, name="idle-connections", daemon=True)
                    self._reaper.start()
            self._changed.notify_all()  # of two kinds of threads, the first may not be allowed this one

    def close_idle(self, older_than_s: float = 0.0) -> None:
        """Close the connections that have been idle for `older_than_s`."""
        since = time.monotonic() - older_than_s
        with self._changed:
            gone = [connection for connection, at in self._idle if at <= since]
            self._idle = [pair for pair in self._idle if pair[1] > since]
        for connection in gone:
            connection.close()

    def _reserve(self) -> Connection | None:
        """Wait until this thread may have a connection; return an idle one, None where it has to connect."""
        with self._changed:
            if not self._changed.wait_for(self._has_room, WAIT_TIMEOUT_S):
                message = f"none of {max_connections} connections was free for {WAIT_TIMEOUT_S:g} s"
                logger.warning("%s; CORE_DB_CONNECTIONS allows more", message)
                raise psycopg.OperationalError(message)
            self._connecting[_thread.serves_signals] += 1
            return self._idle.pop()[0] if self._idle else None

    def _has_room(self) -> bool:
        if max_connections is None:
            return True
        if len(self._acquired) + sum(self._connecting.values()) >= max_connections:
            return False
        others = list(self._acquired.values()).count(False) + self._connecting[False]
        return _thread.serves_signals or others < max_connections - max_connections // 2

    def _reap(self) -> None:
        """Close what is idle for too long, until nothing is idle."""
        while True:
            with self._changed:
                if not self._idle:
                    self._reaper = None
                    return
                left_s = self._idle[0][1] + MAX_IDLE_S - time.monotonic()
            time.sleep(max(0.0, left_s))
            self.close_idle(MAX_IDLE_S)


def pool_of(key: Hashable) -> Pool:
    """Return the pool of a database, a login and its options."""
    with _pools_lock:
        return _pools.setdefault(key, Pool())


def release_connections() -> None:
    """Release this thread's connections, but one in a transaction: before it waits for anything else."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is not None and not connection.in_atomic_block:
            connection.close()


def call_and_release(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Return what a call returns, and release this thread's connections: for threads that stay."""
    try:
        return call(*args, **kwargs)
    finally:
        release_connections()


def close_idle_connections() -> None:
    """Close every connection that no thread uses."""
    for pool in list(_pools.values()):
        pool.close_idle()


def is_alive(connection: Connection) -> bool:
    """Return whether the server has not ended the connection, as far as has come to be known here.

    A query would find out more, and hang with a server that is half dead.
    """
    try:
        for _ in range(2):  # the reason that a server gives, then the end
            connection.pgconn.consume_input()
    except psycopg.Error:
        return False
    return not connection.closed


_pools: dict[Hashable, Pool] = {}
_pools_lock = threading.Lock()

atexit.register(close_idle_connections)
os.register_at_fork(after_in_child=_pools.clear)  # a connection is of the process that opened it
