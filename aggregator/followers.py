"""Followers: whatever reads the ledger behind its writer, each with a named cursor of its own.

A cursor advances in the transaction that holds its follower's effects, so each signal takes effect exactly
once, whatever is killed and however many processes run the same follower: one of them locks the cursor's row,
and the others skip it. Positions grow in commit order, so nothing ever appears at or below a cursor.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

from django.db import connection, transaction

from aggregator.ledger.errors import classified
from aggregator.worker import Loop

CREATE = """
    INSERT INTO followers (name, position, advanced_at) VALUES (%(name)s, %(position)s, now())
    ON CONFLICT (name) DO NOTHING"""
LOCK = "SELECT position FROM followers WHERE name = %(name)s FOR UPDATE SKIP LOCKED"
ADVANCE = "UPDATE followers SET position = %(position)s, advanced_at = now() WHERE name = %(name)s"
NEXT = """
    SELECT max(position) FROM (
        SELECT position FROM trading_signals WHERE position > %(after)s
        ORDER BY position LIMIT %(batch)s) AS next"""
LAGS = """
    SELECT followers.name, coalesce(clock_timestamp() - oldest.recorded_at, interval '0')
    FROM followers LEFT JOIN LATERAL (
        SELECT recorded_at FROM trading_signals WHERE position > followers.position
        ORDER BY position LIMIT 1) AS oldest ON true
    WHERE followers.name = ANY (%(names)s) ORDER BY followers.name"""

AHEAD = "SELECT name FROM followers WHERE position > %(head)s ORDER BY name LIMIT 5"


@dataclass
class Cursor:
    """A follower's place in the ledger, locked for one transaction; its holder may set `position`."""

    name: str
    position: int


def create(name: str, position: int = 0) -> None:
    """Create a cursor unless it exists, in the caller's transaction if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(CREATE, {"name": name, "position": position})


@contextmanager
def locked(name: str) -> Iterator[Cursor | None]:
    """Lock a cursor for one transaction, which commits what it was set to together with all other effects.

    Gives None while another transaction holds it, or where there is no such cursor.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(LOCK, {"name": name})
        row = cursor.fetchone()
        if row is None:
            yield None
            return
        held = Cursor(name, row[0])
        yield held
        if held.position != row[0]:
            cursor.execute(ADVANCE, {"name": name, "position": held.position})


class Follower(Loop):
    """Takes the ledger into account, batch by batch. A loop of the worker; its methods are for one thread."""

    name: ClassVar[str]
    batch: ClassVar[int] = 5000
    """Signals of one transaction at most."""
    idle_interval_s = 0.25
    """How often a follower that has reached the ledger's head looks again."""

    @abstractmethod
    def apply(self, cursor: Any, after: int, upto: int) -> None:
        """Apply the signals with `after < position <= upto`, with `cursor`, in the caller's transaction.

        It must not commit. Whatever it raises leaves the follower where it was.
        """

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - a loop's signature; there is nothing to await
        """Apply one batch and return by how many positions the cursor advanced. Raises Outage."""
        with classified():
            create(self.name)
            with locked(self.name) as held, connection.cursor() as cursor:
                if held is None:
                    return 0
                cursor.execute(NEXT, {"after": held.position, "batch": self.batch})
                upto = cursor.fetchone()[0]
                if upto is None:
                    return 0
                after, held.position = held.position, upto
                self.apply(cursor, after, upto)
        return int(upto - after)

    def catch_up(self) -> None:
        """Apply everything up to the ledger's head. Raises Outage."""
        while self.run_once():
            pass


def lags(names: list[str]) -> dict[str, timedelta]:
    """Return, by follower, for how long the oldest signal that it has not applied yet has been on record."""
    with connection.cursor() as cursor:
        cursor.execute(LAGS, {"names": names})
        return dict(cursor.fetchall())


def ahead(head: int) -> list[str]:
    """Return the first followers that have passed `head`: they would skip signals."""
    with connection.cursor() as cursor:
        cursor.execute(AHEAD, {"head": head})
        return [name for (name,) in cursor.fetchall()]
