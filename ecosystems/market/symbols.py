"""The canonical name of an instrument, however an agent writes its symbol."""

from collections.abc import Callable
from functools import lru_cache

from ecosystems.crypto import symbols as crypto
from ecosystems.forex import symbols as forex
from ecosystems.stock import symbols as stock

CANONICAL: dict[str, Callable[[str], str | None]] = {
    "crypto": crypto.canonical,
    "forex": forex.canonical,
    "stock": stock.canonical,
}


@lru_cache(maxsize=65_536)
def instrument(ecosystem: str, symbol: str) -> str:
    """Return the canonical name of `symbol`, or `symbol` as written where it has none that is certain.

    Raises KeyError for an unknown ecosystem. Cached, because it is called for each signal; the
    bound (some 10 MB when full) keeps a sender of made-up symbols from filling the memory.
    """
    return CANONICAL[ecosystem](symbol) or symbol


@lru_cache(maxsize=65_536)
def has_certain_name(ecosystem: str, symbol: str) -> bool:
    """Return whether the spelling of `symbol` alone determines the instrument."""
    return CANONICAL[ecosystem](symbol) is not None
