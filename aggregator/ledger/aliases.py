"""Symbols whose instrument cannot be told from their spelling, and what an operator says they are.

The ledger joins `symbol_aliases` in the very statement that inserts a batch. A cache in each process would be
wrong for as long as it lives, just when an operator has mapped a symbol and wants no more rows without its
name; the join costs no query of its own and reads a table of a few rows.
"""

import re
from dataclasses import dataclass

from django.db import connection, connections, transaction

from aggregator.ledger.errors import classified
from aggregator.models import SymbolAlias
from ecosystems.market.symbols import CANONICAL, instrument

BATCH = 5000
"""Rows looked at in one transaction, of those that are called what is to be mended."""
BATCH_OF_ALL = 50_000
"""Rows looked at in one transaction where it is not known what they are called: few are to be mended."""

# Whoever inserts by what a symbol was called before holds this lock until it has committed.
WAIT = "LOCK TABLE ledger_lock IN EXCLUSIVE MODE"

# The key as a whole keeps Postgres on this index.
CALLED = "(instrument, id) > (%(before)s, %(after)s) AND instrument <= %(before)s ORDER BY instrument, id"
ALL = "id > %(after)s ORDER BY id"
# Looks at no more than a batch: a symbol that was mapped to BTC/USDT by mistake may have ten rows among
# millions. A row without an instrument is not recorded yet.
MEND = """
    WITH seen AS (
        SELECT id, ecosystem, symbol, instrument FROM trading_signals WHERE {} LIMIT %(batch)s),
    mended AS (
        UPDATE trading_signals SET instrument = %(name)s FROM seen
        WHERE trading_signals.id = seen.id AND seen.ecosystem = %(ecosystem)s AND seen.symbol = %(symbol)s
            AND seen.instrument NOT IN ('', %(name)s)
        RETURNING 1)
    SELECT (SELECT count(*) FROM mended), count(*), max(id) FROM seen"""

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


@dataclass(frozen=True)
class Mark:
    """Where a mending has come to: which of `_ways`, and the last id that it looked at there."""

    way: int = 0
    row_id: int = -(2**63)

    def __str__(self) -> str:
        return f"{self.way}:{self.row_id}"

    @classmethod
    def read(cls, text: str) -> "Mark":
        """Raises ValueError for what `str` of a mark does not look like."""
        if not re.fullmatch(r"[0-9]:-?[0-9]{1,19}", text):
            raise ValueError(f"no mark: {text[:30]}")
        way, _, row_id = text.partition(":")
        return cls(int(way), int(row_id))


def mend(alias: SymbolAlias, before: str | None, after: Mark | None = None) -> tuple[int, Mark | None]:
    """Give the alias's name to the next rows of its symbol that are called `before`, or anything if None.

    Returns how many those were, and where to go on, None at the end. Call it when the alias is committed:
    what is inserted since then has the name already. Raises Outage, also of the ecosystem's own database.
    """
    after, name = after or Mark(), alias.instrument or instrument(alias.ecosystem, alias.symbol)
    ways = [way for way in _ways(alias, before) if way[1] != name]
    if after.way >= len(ways):
        return 0, None
    place, called = ways[after.way]
    batch = BATCH_OF_ALL if called is None else BATCH
    wanted: dict[str, str | int | None] = {
        "before": called,
        "after": after.row_id,
        "ecosystem": alias.ecosystem,
        "symbol": alias.symbol,
        "batch": batch,
        "name": name,
    }
    with classified():
        if after == Mark():
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute(WAIT)
        with transaction.atomic(using=place), connections[place].cursor() as cursor:
            cursor.execute(MEND.format(ALL if called is None else CALLED), wanted)
            mended, seen, last = cursor.fetchone()
    if seen == batch:
        return mended, Mark(after.way, last)
    return mended, Mark(after.way + 1) if after.way + 1 < len(ways) else None


def _ways(alias: SymbolAlias, before: str | None) -> list[tuple[str, str | None]]:
    """Return the databases to mend, and what the symbol's rows are called there; None if that is not known.

    An ecosystem's own database may hold the symbol as it is spelled, whatever it was mapped to.
    """
    ways: list[tuple[str, str | None]] = [("default", before)]
    if alias.ecosystem in connections:
        spelled = None if before is None else instrument(alias.ecosystem, alias.symbol)
        ways += [(alias.ecosystem, called) for called in dict.fromkeys((before, spelled))]
    return ways
