"""How signals travel to Postgres: one COPY into a temporary table."""

from collections.abc import Iterable
from typing import Any

from ecosystems.signal import Signal
from ecosystems.symbols import instrument

# Kept by the session and emptied at each commit: creating one a transaction would cost a dozen catalogue rows
# each time. The number changes with the columns, since a pooled session may outlive an upgrade.
TABLE = "staged_signals_1"

COLUMNS = """signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price, stop_loss,
    take_profit, volume, confidence, agent_source, tags, raw_payload, instrument, digest"""

# What is staged, in order, with what an operator says a symbol is in place of what its spelling says: see
# `aggregator.aliases`.
IN_ORDER = f"""(
    SELECT ord, {COLUMNS.replace(" instrument,", " coalesce(aliased, instrument) AS instrument,")}
    FROM {TABLE}
    LEFT JOIN (SELECT ecosystem, symbol, nullif(instrument, '') AS aliased FROM symbol_aliases) AS alias
        USING (ecosystem, symbol)
    ORDER BY ord)"""

# The table's own lock is taken before the ledger's, so that a migration makes this transaction wait and not
# everyone behind it.
BEGIN = f"""
    SET LOCAL statement_timeout = '30s';
    SET LOCAL client_min_messages = warning;
    LOCK TABLE trading_signals IN ROW EXCLUSIVE MODE;
    CREATE TEMPORARY TABLE IF NOT EXISTS {TABLE} (
        ord bigint, signal_id text, ecosystem text, "timestamp" timestamptz, symbol text, action text,
        signal_type text, entry_price numeric, stop_loss numeric, take_profit numeric, volume numeric,
        confidence double precision, agent_source text, tags jsonb, raw_payload jsonb, instrument text,
        digest bytea
    ) ON COMMIT DELETE ROWS"""

# Signals hold no control characters, so one of them can stand for NULL.
NULL = "\x01"
COPY = f"COPY {TABLE} (ord, {COLUMNS}) FROM STDIN WITH (NULL '{NULL}')"


def stage(cursor: Any, numbered: Iterable[tuple[int, Signal, bytes]]) -> None:
    """Send `(ord, signal, digest)` to the temporary table, inside the caller's transaction."""
    cursor.execute(BEGIN)
    with cursor.copy(COPY) as copy:
        copy.write("".join([_line(*row) for row in numbered]))


def _line(order: int, signal: Signal, digest: bytes) -> str:
    """Return a row in COPY's text format (https://www.postgresql.org/docs/current/sql-copy.html)."""
    confidence = signal.confidence
    line = "\t".join(
        (
            str(order),
            signal.signal_id,
            signal.ecosystem,
            signal.timestamp.isoformat(),
            signal.symbol,
            signal.action,
            signal.signal_type,
            NULL if signal.entry_price is None else str(signal.entry_price),
            NULL if signal.stop_loss is None else str(signal.stop_loss),
            NULL if signal.take_profit is None else str(signal.take_profit),
            NULL if signal.volume is None else str(signal.volume),
            NULL if confidence is None else repr(confidence),
            signal.agent_source,
            signal.tags_json().decode() if signal.tags else "[]",
            signal.payload_json().decode() if signal.raw_payload else "{}",
            instrument(signal.ecosystem, signal.symbol),
        )
    )
    if "\\" in line:
        line = line.replace("\\", "\\\\")
    return f"{line}\t\\\\x{digest.hex()}\n"
