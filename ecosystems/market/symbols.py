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
IS_INSTRUMENT: dict[str, Callable[[str], bool]] = {
    "crypto": crypto.is_instrument,
    "forex": forex.is_instrument,
    "stock": stock.is_instrument,
}
SUGGESTIONS: dict[str, Callable[[str], list[str]]] = {
    "crypto": crypto.suggestions,
    "forex": forex.suggestions,
    "stock": stock.suggestions,
}
MAX_SUGGESTIONS = 4


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


def suggest_instruments(ecosystem: str, symbol: str) -> list[str]:
    """Return the likeliest instruments of a symbol whose spelling determines none, for an operator."""
    names = SUGGESTIONS[ecosystem](symbol)
    return [name for name in names if IS_INSTRUMENT[ecosystem](name)][:MAX_SUGGESTIONS]


def valid_instrument(ecosystem: str, name: str) -> str | None:
    """Return an instrument as the hub writes it, EUR/USD for EURUSD; None if it is none of its ecosystem."""
    if IS_INSTRUMENT[ecosystem](name):
        return name
    return CANONICAL[ecosystem](name)
