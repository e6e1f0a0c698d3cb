"""The assets that are known, those of assets.toml, and the pairs that a text can be split into."""

from ecosystems.market.tables import read_table, words

Pair = tuple[str, str]
"""Base and quote."""

_TABLE = read_table(__file__, "assets.toml")
ALIASES: dict[str, str] = _TABLE["aliases"]
COINS = words(_TABLE["coins"]["symbols"])
STABLES = words(_TABLE["stablecoins"]["symbols"])
COIN_QUOTES: list[str] = _TABLE["coin_quotes"]["symbols"].split()
"""The coins that others are quoted in, the most usual first."""
MONEY = STABLES | words(_TABLE["fiat"]["codes"])
QUOTES = MONEY | frozenset(COIN_QUOTES)
SPELLED_QUOTES = QUOTES | {spelling for spelling, name in ALIASES.items() if name in QUOTES}
"""The quotes as symbols spell them, XBT among them."""
KNOWN_NAMES = COINS | QUOTES | words(_TABLE["lone"]["symbols"]) | frozenset(ALIASES)
"""Every known asset."""
MULTIPLIERS: list[str] = _TABLE["multipliers"]["prefixes"].split()

CERTAIN_AFTER_LETTER = frozenset(("USDT", "USDC", "FDUSD"))
"""Quotes that are certain after a base of one letter: SUSD, WBTC and TETH are assets, and more are made."""


def unaliased(asset: str) -> str:
    """Return the usual name of an asset: BTC for XBT."""
    return ALIASES.get(asset, asset)


def is_known(asset: str) -> bool:
    """Return whether an asset is known, or a multiple of one that is: 1000PEPE."""
    return asset in KNOWN_NAMES or any(
        asset.removeprefix(prefix) in COINS for prefix in MULTIPLIERS if asset.startswith(prefix)
    )


def known_pairs(text: str, quotes: frozenset[str] | None = None) -> list[Pair]:
    """Return the pairs of known assets that a text without separators can be split into."""
    known = [
        (unaliased(base), unaliased(quote))
        for base, quote in pairs(text, quotes)
        if is_known(base) and (len(base) > 1 or quote in CERTAIN_AFTER_LETTER)
    ]
    # No venue quotes the dollar in one that imitates it: USDTUSD is no USD/TUSD.
    return [
        (base, quote)
        for base, quote in dict.fromkeys(known)
        if base != quote and not (base == "USD" and quote in STABLES)
    ]


def pairs(text: str, quotes: frozenset[str] | None = None) -> list[Pair]:
    """Return a text that ends with one of the quotes as base and quote, the shortest quote first."""
    splits = [(text[:-size], text[-size:]) for size in (3, 4, 5) if 0 < len(text) - size <= 20]
    return [(base, quote) for base, quote in splits if quote in (quotes or SPELLED_QUOTES) and base != quote]
