"""Whether an ecosystem's market is open: what a quiet agent means depends on it."""

from datetime import datetime
from typing import Protocol

from ecosystems.crypto import calendar as crypto
from ecosystems.forex import calendar as forex
from ecosystems.stock import calendar as stock


class Hours(Protocol):
    """What each ecosystem's `hours` module offers."""

    def is_open(self, at: datetime, symbol: str | None = None) -> bool: ...

    def next_change(self, at: datetime) -> datetime | None: ...


HOURS: dict[str, Hours] = {"crypto": crypto, "forex": forex, "stock": stock}


def is_open(ecosystem: str, at: datetime, symbol: str | None = None) -> bool:
    """Say whether `ecosystem` trades at `at` (aware). Raises KeyError for one that is not registered."""
    return HOURS[ecosystem].is_open(at, symbol)


def next_change(ecosystem: str, at: datetime) -> datetime | None:
    """Return when `ecosystem` next opens or closes after `at`, in UTC; None if it never does."""
    return HOURS[ecosystem].next_change(at)
