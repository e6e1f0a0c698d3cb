"""Instruments that an operator maps to symbols whose spelling does not determine one.

The ledger joins `symbol_aliases` in the statement that inserts a batch. A cache in each process would be
stale just when an operator has mapped a symbol and expects all new signals under its instrument; the join
costs no query of its own and reads a table of a few rows.
"""

import re

from django.db import connection, connections, transaction

from aggregator.ledger.errors import classified
from aggregator.models import SymbolAlias
from ecosystems.market.symbols import CANONICAL, instrument

RENAME_BATCH = 5000
"""Rows read in one transaction, of those that have the instrument to be replaced."""
SCAN_BATCH = 50_000
"""Rows read in one transaction where that instrument is not known: few of them are updated."""
START = f"0:{-(2**63)}"
"""The cursor of the first batch."""

# Batches being recorded under the symbol's earlier instrument hold this lock until they are committed.
WAIT_FOR_WRITERS = "LOCK TABLE ledger_lock IN EXCLUSIVE MODE"

# The row comparison keeps Postgres on the index of both columns.
WHERE_NAMED = """(instrument, id) > (%(before)s, %(after)s) AND instrument <= %(before)s
        ORDER BY instrument, id"""
WHERE_ANY = "id > %(after)s ORDER BY id"
# Reads no more than a batch: a symbol that was mapped to BTC/USDT by mistake may have ten rows among
# millions. A row without an instrument is not recorded yet.
RENAME = """
    WITH seen AS (
        SELECT id, ecosystem, symbol, instrument FROM trading_signals WHERE {} LIMIT %(batch)s),
    renamed AS (
        UPDATE trading_signals SET instrument = %(name)s FROM seen
        WHERE trading_signals.id = seen.id AND seen.ecosystem = %(ecosystem)s AND seen.symbol = %(symbol)s
            AND seen.instrument NOT IN ('', %(name)s)
        RETURNING 1)
    SELECT (SELECT count(*) FROM renamed), count(*), max(id) FROM seen"""

SUFFIX = re.compile(r"[._\-#+!].*$")


def suggest_instrument(ecosystem: str, symbol: str) -> str:
    """Return the most likely instrument of a symbol, for an operator to confirm; empty if there is none."""
    stem = SUFFIX.sub("", symbol)
    bare = symbol.rpartition(":")[2]
    for guess in (bare, stem, bare.lstrip("t"), re.sub(r"[^A-Za-z0-9]", "", bare), re.sub(r"\d+$", "", stem)):
        if guess and (name := CANONICAL[ecosystem](guess)):
            return name
    return ""


def canonical_name(ecosystem: str, name: str) -> str:
    """Return an instrument as the hub writes it: EUR/USD for EURUSD; unchanged if it is ambiguous."""
    return CANONICAL[ecosystem](name) or name


def rename_signals(alias: SymbolAlias, before: str | None, cursor: str = START) -> tuple[int, str | None]:
    """Set the instrument of the next signals of an alias's symbol; return how many, and the next cursor.

    `before` is the instrument that they have now, None if it is not known. The cursor is None at the end.
    Call it when the alias is committed: signals recorded since then have the instrument already. Raises
    ValueError for a malformed cursor, and Outage, also of the ecosystem's own database.
    """
    if not re.fullmatch(r"[0-9]:-?[0-9]{1,19}", cursor):
        raise ValueError("not a cursor")
    index, after = map(int, cursor.split(":"))
    name = alias.instrument or instrument(alias.ecosystem, alias.symbol)
    targets = [target for target in _targets(alias, before) if target[1] != name]
    if index >= len(targets):
        return 0, None
    database, replaced = targets[index]
    batch = SCAN_BATCH if replaced is None else RENAME_BATCH
    parameters: dict[str, str | int | None] = {
        "before": replaced,
        "after": after,
        "ecosystem": alias.ecosystem,
        "symbol": alias.symbol,
        "batch": batch,
        "name": name,
    }
    with classified():
        if cursor == START:
            with transaction.atomic(), connection.cursor() as sql:
                sql.execute(WAIT_FOR_WRITERS)
        with transaction.atomic(using=database), connections[database].cursor() as sql:
            sql.execute(RENAME.format(WHERE_ANY if replaced is None else WHERE_NAMED), parameters)
            renamed, seen, last = sql.fetchone()
    if seen == batch:
        return renamed, f"{index}:{last}"
    return renamed, f"{index + 1}:{-(2**63)}" if index + 1 < len(targets) else None


def _targets(alias: SymbolAlias, before: str | None) -> list[tuple[str, str | None]]:
    """Return each database with the instrument that the symbol's signals have there; None if not known.

    An ecosystem's own database may have the instrument derived from the symbol, whatever it was mapped to.
    """
    targets: list[tuple[str, str | None]] = [("default", before)]
    if alias.ecosystem in connections:
        derived = None if before is None else instrument(alias.ecosystem, alias.symbol)
        targets += [(alias.ecosystem, replaced) for replaced in dict.fromkeys((before, derived))]
    return targets
