"""The canonical name of an instrument, however an agent writes its symbol."""

from functools import lru_cache
from typing import Protocol

from ecosystems.crypto import symbols as crypto
from ecosystems.forex import symbols as forex
from ecosystems.stock import symbols as stock


class Symbols(Protocol):
    """The functions that each ecosystem's `symbols` module has."""

    def canonical(self, symbol: str) -> str | None: ...

    def suggestions(self, symbol: str) -> list[str]: ...

    def is_instrument(self, name: str) -> bool: ...


SYMBOLS: dict[str, Symbols] = {"crypto": crypto, "forex": forex, "stock": stock}
MAX_SUGGESTIONS = 4


@lru_cache(maxsize=65_536)
def _canonical(ecosystem: str, symbol: str) -> str | None:
    """Return the canonical name of `symbol`.

    Cached, because it is called for each signal; the bound (some 10 MB when full) keeps a sender of made-up
    symbols from filling the memory.
    """
    return SYMBOLS[ecosystem].canonical(symbol)


def instrument(ecosystem: str, symbol: str) -> str:
    """Return the canonical name of `symbol`, or `symbol` as written where it has none that is certain.

    Raises KeyError for an unknown ecosystem.
    """
    return _canonical(ecosystem, symbol) or symbol


def has_certain_name(ecosystem: str, symbol: str) -> bool:
    """Return whether the spelling of `symbol` alone determines the instrument."""
    return _canonical(ecosystem, symbol) is not None


def suggest_instruments(ecosystem: str, symbol: str) -> list[str]:
    """Return the likeliest instruments of a symbol whose spelling determines none, for an operator."""
    module = SYMBOLS[ecosystem]
    return [name for name in module.suggestions(symbol) if module.is_instrument(name)][:MAX_SUGGESTIONS]


def valid_instrument(ecosystem: str, name: str) -> str | None:
    """Return an instrument as the hub writes it, EUR/USD for EURUSD; None if it is none of its ecosystem."""
    module = SYMBOLS[ecosystem]
    return name if module.is_instrument(name) else module.canonical(name)
