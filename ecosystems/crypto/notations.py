"""How venues write their markets: the notations of venues.toml, and pairs of assets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ecosystems.crypto import assets
from ecosystems.crypto.assets import Pair
from ecosystems.market.tables import read_table, words

WRITTEN_PAIR = re.compile(r"([A-Z0-9]{1,20})([-_/])([A-Z][A-Z0-9]{0,19})")

Market = tuple[Pair, str]
"""A pair, and what it is settled in: an empty text on a spot market."""


_TABLE = read_table(__file__, "venues.toml")
VENUES = words(_TABLE["prefixes"]["names"])
"""The venues whose names may stand before or after a symbol."""
MARKED = words(_TABLE["prefixes"]["marked"])
"""Those at which a symbol without a mark may be a contract."""
QUOTES_OF = {name: words(text) for name, text in _TABLE["quotes"].items() if name != "source"}
"""All that a venue quotes in, where that is known."""
AMBIGUOUS = words(_TABLE["ambiguous"]["symbols"])
"""Symbols that two venues use for different markets."""
KINDS = words(_TABLE["ambiguous"]["kinds"])
"""Coins whose names are kinds of contracts as well."""


@dataclass(frozen=True)
class Notation:
    """One way to write a market; venues.toml explains the fields."""

    name: str
    pattern: re.Pattern[str]
    source: str = ""
    market: str = "linear"
    venues: frozenset[str] = frozenset()
    alone: bool = False
    exact: bool = False
    quote: str = ""
    settle: str = ""
    assets: dict[str, str] = field(default_factory=dict)
    """What a venue calls assets by other names than all the world."""

    def read(self, text: str, venue: str) -> Market | None:
        """Return the market that a text means in this notation."""
        found = self.pattern.fullmatch(text if self.exact else text.upper())
        if found is None or (self.exact and not venue and assets.known_pairs(text.upper())):
            return None  # of the exact ones, tBTCUSD is a pair of the token tBTC as well
        pair = self._pair({name: part for name, part in found.groupdict().items() if part}, venue)
        return (pair, settled) if pair and (settled := self._settled(pair)) is not None else None

    def _pair(self, parts: dict[str, str], venue: str) -> Pair | None:
        if "pair" in parts:
            return certain_pair(parts["pair"], venue)
        if "coin" in parts and not assets.is_known(parts["coin"]):
            return None
        base = parts.get("base") or parts["coin"]
        quote = parts.get("quote") or parts.get("coin_quote") or self.quote
        return self._asset(base), self._asset(quote)

    def _asset(self, name: str) -> str:
        return self.assets.get(name) or assets.unaliased(name)

    def _settled(self, pair: Pair) -> str | None:
        """Return what the market of a pair is settled in, None if there is no such market."""
        base, quote = pair
        if base == quote or quote not in assets.QUOTES:
            return None
        if self.settle or self.market in {"spot", "linear"}:
            return self.settle or ("" if self.market == "spot" else quote)
        if quote in assets.STABLES:
            return quote if self.market in {"stable", "contract"} else None
        return base if quote == "USD" and self.market in {"inverse", "contract"} else None


def _notation(row: dict[str, Any]) -> Notation:
    pattern = row["pattern"]
    for name, expression in _PLACEHOLDERS.items():
        pattern = pattern.replace(name, expression)
    return Notation(**row | {"pattern": re.compile(pattern), "venues": words(row.get("venues", ""))})


_LONGEST_FIRST = sorted(assets.SPELLED_QUOTES, key=lambda name: (-len(name), name))
_PLACEHOLDERS = {
    "{base}": "(?P<base>[A-Z0-9]{1,20})",
    "{coin}": "(?P<coin>[A-Z0-9]{1,20})",
    "{quote}": f"(?P<quote>{'|'.join(_LONGEST_FIRST)})",
    "{pair}": "(?P<pair>[A-Z0-9_/-]+?)",
    "{together}": "(?P<pair>[A-Z0-9]+?)",
}
NOTATIONS = [_notation(row) for row in _TABLE["notation"]]


def markets(text: str, venue: str) -> Iterator[Market]:
    """Yield what a text means in the notations of a venue, and in those that need no venue."""
    for notation in NOTATIONS:
        named = notation.alone or venue in notation.venues
        if named and (market := notation.read(text, venue)):
            yield market


def certain_pair(text: str, venue: str = "") -> Pair | None:
    """Return base and quote of a pair, written with a separator or without, None unless that is certain."""
    if written := WRITTEN_PAIR.fullmatch(text):
        if text in AMBIGUOUS and not venue:
            return None
        base, separator, quote = written.groups()
        return _written(assets.unaliased(base), separator, assets.unaliased(quote))
    if not text.isalnum() or text in assets.KNOWN_NAMES:
        return None
    quotes = QUOTES_OF.get(venue)
    known = assets.known_pairs(text, quotes)
    if known:
        return known[0] if len(known) == 1 else None
    # A venue that is named has such a market, so its base need not be known.
    new = [
        (base, quote)
        for base, quote in assets.pairs(text, quotes)
        if quote in assets.STABLES and len(base) > 1
    ]
    return new[0] if venue and len(new) == 1 else None


def _written(left: str, separator: str, right: str) -> Pair | None:
    """Return base and quote of two assets with a separator, None where either may be the quote."""
    if left == right or right in KINDS:
        return None
    if separator == "/":
        is_pair = right in assets.QUOTES or (assets.is_known(left) and assets.is_known(right))
        return (left, right) if is_pair else None
    if right not in assets.QUOTES:  # quote first, as Upbit writes it
        return (right, left) if left in assets.QUOTES and assets.is_known(right) else None
    coins = assets.COIN_QUOTES
    is_reversed = right in coins and (
        left in assets.MONEY or (left in coins and coins.index(left) < coins.index(right))
    )
    return None if is_reversed else (left, right)


def possible_pairs(text: str) -> list[Pair]:
    """Return every pair that a text may stand for, the likelier ones first."""
    if written := WRITTEN_PAIR.fullmatch(text):
        left, _, right = written.groups()
        orders = [(left, right), (right, left)] if right not in KINDS else []
        found = [(base, quote) for base, quote in orders if quote in assets.QUOTES]
    else:
        found = assets.known_pairs(text) if text.isalnum() else []
        found = found or [pair for pair in assets.pairs(text)[:1] if pair[0].isalnum() and len(pair[0]) > 2]
    return [(assets.unaliased(base), assets.unaliased(quote)) for base, quote in found]
