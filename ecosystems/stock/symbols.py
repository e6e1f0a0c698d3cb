"""Canonical names of US-listed stocks: the ticker, a share class after a dot (`AAPL`, `BRK.B`).

The dot is the form of the SEC's and the exchanges' own files and of Alpaca; Yahoo writes BRK-B, others BRK/B,
BRK_B or BRK B. The venues and the letters of classes are in venues.toml.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from ecosystems.market.tables import read_table, words

PREFIX = re.compile(r"([A-Z][A-Z0-9_]*):(.+)")
SUFFIX = re.compile(r"(.+)\.([A-Z]{2,})")
CLASS_SHARE = re.compile(r"([A-Z]{1,5})[-/_. ]([A-Z])")
TICKER = re.compile(r"[A-Z0-9]{1,10}(?:\.[A-Z0-9]{1,4})?")


@dataclass(frozen=True)
class _Tables:
    prefixes: frozenset[str]
    suffixes: frozenset[str]
    phrases: tuple[str, ...]
    classes: frozenset[str]


@lru_cache(maxsize=1)
def _tables() -> _Tables:
    table = read_table(__file__, "venues.toml")
    names = words(table["prefixes"]["names"])
    return _Tables(
        names | {f"{name}_DLY" for name in names},
        words(table["suffixes"]["names"]),
        tuple(f" {phrase}" for phrase in table["phrases"]["names"]),
        words(table["classes"]["letters"]),
    )


def canonical(symbol: str) -> str | None:
    """Return the ticker in capitals: AAPL for NASDAQ:AAPL or aapl.us, BRK.B for BRK-B; None if uncertain.

    Accepts any text and never raises. A prefix that is not a US exchange gives None, for LSE:VOD and
    NASDAQ:VOD are different listings, in different currencies. So does an exchange suffix (VOD.L).
    """
    if not symbol.isascii():
        return None
    text, tables = symbol.upper(), _tables()
    if prefixed := PREFIX.fullmatch(text):
        exchange, text = prefixed.groups()
        if exchange not in tables.prefixes:
            return None
    for phrase in tables.phrases:
        text = text.removesuffix(phrase)
    if (suffixed := SUFFIX.fullmatch(text)) and suffixed[2] in tables.suffixes:
        text = suffixed[1]
    if (share := CLASS_SHARE.fullmatch(text)) and share[2] in tables.classes:
        return f"{share[1]}.{share[2]}"
    return text if is_instrument(text) else None


def suggestions(symbol: str) -> list[str]:
    """Return the names that an uncertain symbol may mean, for an operator to choose from."""
    text = symbol.rpartition(":")[2].upper()
    guesses = [canonical(text), canonical(re.sub(r"[^A-Z0-9.].*$", "", text.lstrip("#$")))]
    return list(dict.fromkeys(guess for guess in guesses if guess))


def is_instrument(name: str) -> bool:
    """Return whether `name` can be a ticker, with a class or an exchange after a dot."""
    _, _, suffix = name.partition(".")
    return TICKER.fullmatch(name) is not None and suffix not in _tables().suffixes
