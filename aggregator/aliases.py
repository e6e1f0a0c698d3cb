"""Symbols whose instrument cannot be told from their spelling, and what an operator says they are.

The ledger joins `symbol_aliases` in the very statement that inserts a batch. A cache in each process would be
wrong for as long as it lives, just when an operator has mapped a symbol and wants no more rows without its
name; the join costs no query of its own and reads a table of a few rows.
"""

import re
from functools import lru_cache

from django.db import connection, transaction

from aggregator.models import SymbolAlias
from ecosystems.symbols import CANONICAL, instrument


@lru_cache(maxsize=65_536)
def has_certain_name(ecosystem: str, symbol: str) -> bool:
    """Tell whether the spelling of `symbol` alone says which instrument it is."""
    return CANONICAL[ecosystem](symbol) is not None


BATCH = 5000
"""Rows mended in one transaction."""

# Whoever inserts by what a symbol was called before holds this lock until it has committed.
WAIT = "LOCK TABLE ledger_lock IN EXCLUSIVE MODE"

MEND = """
    WITH found AS (
        SELECT id FROM trading_signals
        WHERE instrument = %(before)s AND id > %(after)s AND ecosystem = %(ecosystem)s AND symbol = %(symbol)s
        ORDER BY id LIMIT %(batch)s),
    mended AS (
        UPDATE trading_signals SET instrument = %(name)s FROM found WHERE trading_signals.id = found.id)
    SELECT count(*), coalesce(max(id), 0) FROM found"""

SEPARATED = re.compile(r"[._\-#+!].*$")


def suggestion(ecosystem: str, symbol: str) -> str:
    """Return what an uncertain symbol most likely is, for an operator to confirm; empty if unknown."""
    stem = SEPARATED.sub("", symbol)
    bare = symbol.rpartition(":")[2]
    for guess in (bare, stem, bare.lstrip("t"), re.sub(r"[^A-Za-z0-9]", "", bare), re.sub(r"\d+$", "", stem)):
        if guess and (name := CANONICAL[ecosystem](guess)):
            return name
    return ""


def cleaned(ecosystem: str, name: str) -> str:
    """Return an instrument's name as the hub writes it: EUR/USD for EURUSD, unchanged where it is unsure."""
    return CANONICAL[ecosystem](name) or name


def mend(alias: SymbolAlias, before: str, after: int = 0) -> tuple[int, int | None]:
    """Give the alias's name to rows of its symbol above the id `after` that are called `before`.

    Returns how many those were, BATCH at most, and the id to go on from, None at the end. Call it when the
    alias is committed: whatever is inserted since then has the name already.
    """
    if before == alias.instrument:
        return 0, None
    wanted: dict[str, str | int] = {
        "before": before,
        "after": after,
        "ecosystem": alias.ecosystem,
        "symbol": alias.symbol,
        "batch": BATCH,
        "name": alias.instrument or instrument(alias.ecosystem, alias.symbol),
    }
    if not after:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(WAIT)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(MEND, wanted)
        count, last = cursor.fetchone()
    return count, last if count == BATCH else None
