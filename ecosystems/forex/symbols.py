"""Canonical names of currency pairs, spot metals and energies: two codes with a slash, as in `EUR/USD`.

The codes are those of currencies.toml, what may stand around them is in venues.toml.
"""

import re

from ecosystems.market.tables import read_table, words

PAIR = re.compile(r"([A-Za-z]{3})[-_/.]?([A-Za-z]{3})(.*)")
INSTRUMENT = re.compile(r"([A-Z]{3})/([A-Z]{3})")
PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_]*):(.+)")
YAHOO = re.compile(r"([A-Z]{3}|[A-Z]{6})=X")
BLOOMBERG = re.compile(r"([A-Z]{6}) CURNCY")

_TABLE = read_table(__file__, "venues.toml")
CODES = frozenset[str]().union(
    *(words(part["codes"]) for part in read_table(__file__, "currencies.toml").values())
)
"""Of currencies, metals and commodities."""
PREFIXES = words(_TABLE["prefixes"]["names"])
VENUES = words(_TABLE["venues"]["names"])
DETACHED = words(_TABLE["suffixes"]["detached"])
ATTACHED = words(_TABLE["suffixes"]["attached"])
MARKS = words(_TABLE["suffixes"]["marks"])
NICKNAMES: dict[str, str] = _TABLE["nicknames"]


def canonical(symbol: str) -> str | None:
    """Return `EUR/USD` for EURUSD, EUR_USD, OANDA:EUR_USD, EURUSD=X, a broker's EURUSD.m; None if uncertain.

    Accepts any text and never raises. Only pairs of two different known codes are mapped, so an index or a
    stock quoted by a forex broker (SPX500_USD) keeps its name.
    """
    text = symbol
    if prefixed := PREFIX.fullmatch(symbol):
        if prefixed[1].upper() not in PREFIXES:
            return None
        text = prefixed[2]
    if special := YAHOO.fullmatch(text.upper()) or BLOOMBERG.fullmatch(text.upper()):
        code = special[1]
        text = code if len(code) == 6 else f"USD{code}"  # Yahoo's JPY=X is the price of a dollar in yen
    pair = PAIR.fullmatch(text)
    if pair is None or not _is_suffix(text, pair[3]):
        return None
    name = f"{pair[1]}/{pair[2]}".upper()
    return name if is_instrument(name) else None


def suggestions(symbol: str) -> list[str]:
    """Return the names that an uncertain symbol may mean, for an operator to choose from."""
    text = symbol.rpartition(":")[2].upper()
    stem = re.split(r"[._\-#+!/]", text)[0]
    guesses = [NICKNAMES.get(stem), canonical(text[:6]), canonical(text[:7])]
    return list(dict.fromkeys(guess for guess in guesses if guess))


def is_instrument(name: str) -> bool:
    """Return whether `name` is that of a pair of two different known codes."""
    pair = INSTRUMENT.fullmatch(name)
    return pair is not None and pair[1] != pair[2] and set(pair.groups()) <= CODES


def _is_suffix(text: str, suffix: str) -> bool:
    """Return whether the text after the pair is a broker's account suffix or a venue, not part of a name.

    Without a separator only the brokers' own spelling is certain: the pair in capitals, the suffix not.
    """
    if not suffix or suffix in MARKS:
        return True
    if suffix[0] in "._-" and suffix[1:].lower() in DETACHED:
        return True
    if suffix[0] == "." and suffix[1:].upper() in VENUES:
        return True
    return text[: -len(suffix)].isupper() and suffix in ATTACHED
