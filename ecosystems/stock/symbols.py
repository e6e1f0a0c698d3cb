"""Canonical names of US-listed stocks: the ticker, a share class after a dot (`AAPL`, `BRK.B`).

The dot is the form of the SEC's and the exchanges' own files and of Alpaca; Yahoo writes BRK-B, others BRK/B,
BRK_B or BRK B. The venues and the letters of classes are in venues.toml.
"""

import re

from ecosystems.market.tables import read_table, words

PREFIX = re.compile(r"([A-Z][A-Z0-9_]*):(.+)")
SUFFIX = re.compile(r"(.+)\.([A-Z]{2,})")
CLASS_SHARE = re.compile(r"([A-Z]{1,5})[-/_. ]([A-Z])")
TICKER = re.compile(r"[A-Z0-9]{1,10}(?:\.[A-Z0-9]{1,4})?")


_TABLE = read_table(__file__, "venues.toml")
EXCHANGES = words(_TABLE["prefixes"]["names"])
PREFIXES = EXCHANGES | {f"{name}_DLY" for name in EXCHANGES}
SUFFIXES = words(_TABLE["suffixes"]["names"])
PHRASES = [f" {phrase}" for phrase in _TABLE["phrases"]["names"]]
CLASSES = words(_TABLE["classes"]["letters"])


def canonical(symbol: str) -> str | None:
    """Return the ticker in capitals: AAPL for NASDAQ:AAPL or aapl.us, BRK.B for BRK-B; None if uncertain.

    Accepts any text and never raises. A prefix that is not a US exchange gives None, for LSE:VOD and
    NASDAQ:VOD are different listings, in different currencies. So does an exchange suffix (VOD.L).
    """
    if not symbol.isascii():
        return None
    text = symbol.upper()
    if prefixed := PREFIX.fullmatch(text):
        exchange, text = prefixed.groups()
        if exchange not in PREFIXES:
            return None
    for phrase in PHRASES:
        text = text.removesuffix(phrase)
    if (suffixed := SUFFIX.fullmatch(text)) and suffixed[2] in SUFFIXES:
        text = suffixed[1]
    if (share := CLASS_SHARE.fullmatch(text)) and share[2] in CLASSES:
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
    return TICKER.fullmatch(name) is not None and suffix not in SUFFIXES
