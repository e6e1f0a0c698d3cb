"""Followers: whatever reads the ledger behind its writer, each with a named cursor of its own.

A cursor advances in the transaction that holds its follower's effects, so each signal takes effect exactly
once, whatever is killed and however many processes run the same follower: one of them locks the cursor's row,
and the others skip it. Positions grow in commit order, so nothing ever appears at or below a cursor.
"""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

from django.db import connection, transaction
from django.db.models.functions import Now

from aggregator.ledger.errors import classified
from aggregator.models import FollowerCursor
from aggregator.worker import Loop

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


def create(name: str, position: int = 0) -> None:
    """Create a cursor unless it exists, in the caller's transaction if there is one."""
    FollowerCursor.objects.get_or_create(name=name, defaults={"position": position, "advanced_at": Now()})


@contextmanager
def locked(name: str) -> Iterator[FollowerCursor | None]:
    """Lock a cursor for one transaction, which commits the position it is set to with all other effects.

    Gives None while another transaction holds it, or where there is no such cursor.
    """
    with transaction.atomic():
        held = FollowerCursor.objects.select_for_update(skip_locked=True).filter(name=name).first()
        before = held and held.position
        yield held
        if held and held.position != before:
            held.advanced_at = Now()
            held.save(update_fields=["position", "advanced_at"])


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
    passed = FollowerCursor.objects.filter(position__gt=head).order_by("name")
    return list(passed.values_list("name", flat=True)[:5])
