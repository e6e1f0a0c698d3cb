"""The trading hours of crypto: always open."""

from datetime import datetime


def is_open(at: datetime) -> bool:  # noqa: ARG001 - one interface for all ecosystems
    """Return True."""
    return True


def next_change(at: datetime) -> datetime | None:  # noqa: ARG001
    """Return None: the market never opens or closes."""
    return None
