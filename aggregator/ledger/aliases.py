"""Instruments that an operator maps to symbols whose spelling does not determine one.

The ledger joins `symbol_aliases` in the statement that inserts a batch. A cache in each process would be
stale just when an operator has mapped a symbol and expects all new signals under its instrument; the join
costs no query of its own and reads a table of a few rows.
"""

import logging
import time

from django.db import connection, connections, transaction

from aggregator.ledger.errors import Outage, classified
from aggregator.models import SymbolAlias
from ecosystems.market.symbols import instrument

logger = logging.getLogger("signal_hub.aliases")

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

UPDATE_TIMEOUT_S = 20.0
"""For how long one run of the periodic job updates; what is left is for the next run."""


def map_symbol(alias: SymbolAlias, instrument_: str) -> None:
    """Save an alias with another instrument, and have the signals of its symbol updated to it.

    `update_signals` does so, here and in the worker. Where an earlier update is not over, signals of the
    symbol may have either instrument.
    """
    with transaction.atomic():
        if alias.pk is not None:
            alias.refresh_from_db(from_queryset=SymbolAlias.objects.select_for_update())
        before = alias.instrument or instrument(alias.ecosystem, alias.symbol)
        alias.update_from = "" if alias.update_cursor else before
        alias.instrument = instrument_
        alias.update_cursor = START
        alias.save()


def update_all_signals(alias: SymbolAlias) -> None:
    """Have every signal of an alias's symbol updated, whatever its instrument is."""
    alias.update_from, alias.update_cursor = "", START
    alias.save(update_fields=["update_from", "update_cursor"])


def update_signals(timeout_s: float = UPDATE_TIMEOUT_S, pk: int | None = None) -> int:
    """Update signals of the aliases that were mapped, or of one, for `timeout_s`; return how many.

    Any number of processes may do so at any time: each step locks its alias. An outage of an ecosystem's own
    database leaves the alias where it was.
    """
    until, total = time.monotonic() + timeout_s, 0
    waiting = SymbolAlias.objects.exclude(update_cursor="").order_by("pk").values_list("pk", flat=True)
    for each in waiting if pk is None else [pk]:
        while time.monotonic() < until:
            try:
                count, is_over = _step(each)
            except Outage as outage:
                logger.warning("alias id=%s signals not updated: %s", each, outage)
                break
            total += count
            if is_over:
                break
    return total


def _step(pk: int) -> tuple[int, bool]:
    """Update the next signals of an alias; return how many, and whether none is left for this process."""
    with classified():
        with transaction.atomic(), connection.cursor() as sql:
            sql.execute(WAIT_FOR_WRITERS)
        with transaction.atomic():
            locked = SymbolAlias.objects.select_for_update(skip_locked=True).exclude(update_cursor="")
            alias = locked.filter(pk=pk).first()
            if alias is None:
                return 0, True
            count, alias.update_cursor = _rename_signals(alias)
            alias.save(update_fields=["update_cursor"])
            return count, not alias.update_cursor


def _rename_signals(alias: SymbolAlias) -> tuple[int, str]:
    """Set the instrument of the signals behind the alias's cursor; return how many, and the next cursor."""
    index, after = map(int, alias.update_cursor.split(":"))
    name = alias.instrument or instrument(alias.ecosystem, alias.symbol)
    targets = [target for target in _targets(alias) if target[1] != name]
    if index >= len(targets):
        return 0, ""
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
    with transaction.atomic(using=database), connections[database].cursor() as sql:
        sql.execute(RENAME.format(WHERE_ANY if replaced is None else WHERE_NAMED), parameters)
        renamed, seen, last = sql.fetchone()
    if seen == batch:
        return renamed, f"{index}:{last}"
    return renamed, f"{index + 1}:{-(2**63)}" if index + 1 < len(targets) else ""


def _targets(alias: SymbolAlias) -> list[tuple[str, str | None]]:
    """Return each database with the instrument that the symbol's signals have there; None if not known.

    An ecosystem's own database may have the instrument derived from the symbol, whatever it was mapped to.
    """
    before = alias.update_from or None
    targets: list[tuple[str, str | None]] = [("default", before)]
    if alias.ecosystem in connections:
        derived = None if before is None else instrument(alias.ecosystem, alias.symbol)
        targets += [(alias.ecosystem, replaced) for replaced in dict.fromkeys((before, derived))]
    return targets
