"""Symbols whose instrument cannot be told from their spelling, and what an operator says they are.

The ledger joins `symbol_aliases` in the very statement that inserts a batch. A cache in each process would be
wrong for as long as it lives, just when an operator has mapped a symbol and wants no more rows without its
name; the join costs no query of its own and reads a table of a few rows.
"""

from functools import lru_cache

from ecosystems.symbols import CANONICAL


@lru_cache(maxsize=65_536)
def has_certain_name(ecosystem: str, symbol: str) -> bool:
    """Tell whether the spelling of `symbol` alone says which instrument it is."""
    return CANONICAL[ecosystem](symbol) is not None
