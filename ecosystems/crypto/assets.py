"""The assets that are known, and the pairs that a text can be split into."""

from functools import cached_property
from typing import Any

from ecosystems.market.tables import read_table, words

Pair = tuple[str, str]
"""Base and quote."""

CERTAIN_AFTER_LETTER = frozenset(("USDT", "USDC", "FDUSD"))
"""Quotes that are certain after a base of one letter: SUSD, WBTC and TETH are assets, and more are made."""


class Assets:
    """The table assets.toml, read when it is first needed."""

    @cached_property
    def table(self) -> dict[str, Any]:
        return read_table(__file__, "assets.toml")

    @cached_property
    def coins(self) -> frozenset[str]:
        return words(self.table["coins"]["symbols"])

    @cached_property
    def stables(self) -> frozenset[str]:
        return words(self.table["stablecoins"]["symbols"])

    @cached_property
    def coin_quotes(self) -> list[str]:
        """The coins that others are quoted in, the most usual first."""
        return [str(name) for name in self.table["coin_quotes"]["symbols"].split()]

    @cached_property
    def money(self) -> frozenset[str]:
        return self.stables | words(self.table["fiat"]["codes"])

    @cached_property
    def quotes(self) -> frozenset[str]:
        return self.money | frozenset(self.coin_quotes)

    @cached_property
    def names(self) -> frozenset[str]:
        """Every known asset."""
        lone = words(self.table["lone"]["symbols"])
        return self.coins | self.quotes | lone | frozenset(self.table["aliases"])

    def unaliased(self, asset: str) -> str:
        """Return the usual name of an asset: BTC for XBT."""
        name: str = self.table["aliases"].get(asset, asset)
        return name

    @cached_property
    def spelled_quotes(self) -> frozenset[str]:
        """The quotes as symbols spell them, XBT among them."""
        aliases = self.table["aliases"]
        return self.quotes | {spelling for spelling, name in aliases.items() if name in self.quotes}

    @cached_property
    def _multipliers(self) -> tuple[str, ...]:
        return tuple(self.table["multipliers"]["prefixes"].split())

    def is_known(self, asset: str) -> bool:
        """Return whether an asset is known, or a multiple of one that is: 1000PEPE."""
        return asset in self.names or any(
            asset.removeprefix(prefix) in self.coins
            for prefix in self._multipliers
            if asset.startswith(prefix)
        )

    def known_pairs(self, text: str, quotes: frozenset[str] | None = None) -> list[Pair]:
        """Return the pairs of known assets that a text without separators can be split into."""
        pairs = [
            (self.unaliased(base), self.unaliased(quote))
            for base, quote in self.pairs(text, quotes)
            if self.is_known(base) and (len(base) > 1 or quote in CERTAIN_AFTER_LETTER)
        ]
        # Nobody quotes the dollar in one that imitates it: USDTUSD is no USD/TUSD.
        return [
            (base, quote)
            for base, quote in dict.fromkeys(pairs)
            if base != quote and not (base == "USD" and quote in self.stables)
        ]

    def pairs(self, text: str, quotes: frozenset[str] | None = None) -> list[Pair]:
        """Return a text that ends with one of the quotes as base and quote, the shortest quote first."""
        splits = [(text[:-size], text[-size:]) for size in (3, 4, 5) if 0 < len(text) - size <= 20]
        return [
            (base, quote)
            for base, quote in splits
            if quote in (quotes or self.spelled_quotes) and base != quote
        ]


ASSETS = Assets()
