"""The trading hours of every ecosystem's market. An agent may be silent while its market is closed."""

from datetime import datetime
from typing import Protocol

from ecosystems.crypto import calendar as crypto
from ecosystems.forex import calendar as forex
from ecosystems.stock import calendar as stock


class Calendar(Protocol):
    """The functions that each ecosystem's `calendar` module has."""

    def is_open(self, at: datetime) -> bool: ...

    def next_change(self, at: datetime) -> datetime | None: ...


CALENDARS: dict[str, Calendar] = {"crypto": crypto, "forex": forex, "stock": stock}


def is_market_open(ecosystem: str, at: datetime) -> bool:
    """Return whether `ecosystem` trades at `at` (aware). Raises KeyError for an unknown ecosystem."""
    return CALENDARS[ecosystem].is_open(at)


def next_market_change(ecosystem: str, at: datetime) -> datetime | None:
    """Return when `ecosystem` next opens or closes after `at`, in UTC; None if it never does."""
    return CALENDARS[ecosystem].next_change(at)
