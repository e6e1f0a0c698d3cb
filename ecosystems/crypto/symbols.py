"""Canonical names of crypto markets, in ccxt's unified notation.

`BTC/USDT` is a spot market, `BTC/USDT:USDT` a perpetual settled in USDT, `BTC/USD:BTC` one settled in the
coin (https://docs.ccxt.com, "Symbols And Market Ids"). A symbol has a name only where one reading is certain:
both assets are known and nothing else can be meant, or a venue's own notation says so. The assets are those
of assets.toml, the notations those of `ecosystems.crypto.notations`.
"""

import re
from string import ascii_lowercase

from ecosystems.crypto import assets, notations
from ecosystems.crypto.assets import Pair

UNIFIED = re.compile(r"(?:.+:)?([A-Z0-9]{1,20})/([A-Z][A-Z0-9]{0,19}):([A-Z][A-Z0-9]{0,19})")
INSTRUMENT = re.compile(
    r"[A-Z0-9]{1,20}/[A-Z][A-Z0-9]{0,19}(:[A-Z][A-Z0-9]{0,19}(-[0-9]{6}(-[0-9.]+-[CP])?)?)?"
)
PREFIX = re.compile(r"([A-Za-z][A-Za-z0-9_]*):(.+)")
SUFFIX = re.compile(r"(.+)\.([A-Za-z][A-Za-z0-9_]+)")


def canonical(symbol: str) -> str | None:
    """Return the ccxt name of the market that `symbol` means, or None if that is not certain.

    Accepts any text and never raises. `BTCUSDT`, `BTC-USDT` and `BINANCE:BTCUSDT` give `BTC/USDT`;
    `BTCUSDT.P` and `BTC-USDT-SWAP` give `BTC/USDT:USDT`. `canonical(canonical(x)) == canonical(x)`.
    """
    if not symbol.isascii():
        return None
    venue, text = _venue(symbol)
    if unified := UNIFIED.fullmatch(text.upper()):
        base, quote, settle = map(assets.unaliased, unified.groups())
        return None if base == quote else f"{base}/{quote}:{settle}"
    if market := next(notations.markets(text, venue), None):
        return _name(*market)
    is_marked_only = venue in notations.MARKED
    if is_marked_only or text not in {text.upper(), text.lower()}:
        return None
    pair = notations.certain_pair(text.upper(), venue)
    return _name(pair) if pair else None


def suggestions(symbol: str) -> list[str]:
    """Return the names that an uncertain symbol may mean, for an operator to choose from."""
    if not symbol.isascii():
        return []
    text = symbol.rpartition(":")[2] or symbol
    stem = re.split(r"[._\-#+!]", text)[0]
    stems = list(dict.fromkeys((text, text.rstrip(ascii_lowercase), text.upper(), text.lstrip("ts"), stem)))
    found = [name for stem in stems if stem and (name := canonical(stem))]
    found += [_name(pair) for stem in stems for pair in notations.possible_pairs(stem.upper())]
    if not found:
        venues = sorted(notations.VENUES)
        found = [_name(*market) for venue in venues for market in notations.markets(text, venue)]
    return list(dict.fromkeys(found))


def is_instrument(name: str) -> bool:
    """Return whether `name` can be the name of a market: that of a pair, of a contract, or of an option."""
    pair, settled, _ = name.partition(":")
    return INSTRUMENT.fullmatch(name) is not None and (bool(settled) or canonical(pair) == pair)


def _venue(symbol: str) -> tuple[str, str]:
    """Return the venue that a symbol names, in capitals, and the rest of it; an empty text for none."""
    known = notations.VENUES
    if (prefixed := PREFIX.fullmatch(symbol)) and prefixed[1].upper() in known:
        return prefixed[1].upper(), prefixed[2]
    if (suffixed := SUFFIX.fullmatch(symbol)) and suffixed[2].upper() in known:
        return suffixed[2].upper(), suffixed[1]
    return "", symbol


def _name(pair: Pair, settle: str = "") -> str:
    return f"{pair[0]}/{pair[1]}:{settle}" if settle else f"{pair[0]}/{pair[1]}"
