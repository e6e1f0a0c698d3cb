"""How signals travel to Postgres, in the way that suits their number: `prepare`, and after COPY `send`.

A few go as one JSON text in the very statement that records them: no round trip, no catalogue, no privilege
of their own. Many go into a temporary table first, by COPY: three round trips, and a third of the work a
signal. `benchmarks/README.md` has the figures, and the ways that were slower.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ecosystems.market.symbols import instrument
from ecosystems.signal import Signal

MANY = 640
"""From how many on COPY pays for itself."""

COLUMNS = """signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price, stop_loss,
    take_profit, volume, confidence, agent_source, tags, raw_payload, instrument, digest"""

TYPED = """ord bigint, signal_id text, ecosystem text, "timestamp" timestamptz, symbol text, action text,
    signal_type text, entry_price numeric, stop_loss numeric, take_profit numeric, volume numeric,
    confidence double precision, agent_source text, tags jsonb, raw_payload jsonb, instrument text,
    digest bytea"""

# The staged signals, in order, with what an operator says a symbol is in place of what its spelling says: see
# `aggregator.ledger.aliases`.
IN_ORDER = f"""(
    SELECT ord, {COLUMNS.replace(" instrument,", " coalesce(aliased, instrument) AS instrument,")}
    FROM {{relation}}
    LEFT JOIN (SELECT ecosystem, symbol, nullif(instrument, '') AS aliased FROM symbol_aliases) AS alias
        USING (ecosystem, symbol)
    ORDER BY ord)"""

Numbered = tuple[int, Signal, bytes]
"""A number to order by, a signal and its digest."""

# JSON rather than JSONB: that one has a limit of 256 MB.
FEW = IN_ORDER.format(relation=f"json_to_recordset(%s::json) AS few ({TYPED})")
"""A relation with `ord` and COLUMNS; takes what `as_json` returns."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Prepared(NamedTuple):
    """Signals as Postgres gets them."""

    relation: str
    """SQL of a relation with `ord` and COLUMNS."""
    parameters: tuple[str, ...]
    """Of that SQL."""
    copied: bytes
    """What `send` puts behind it first, if anything."""


def prepare(signals: Sequence[Numbered]) -> Prepared:
    if len(signals) > MANY:
        return Prepared(MANY_STAGED, (), "".join([_line(*each) for each in signals]).encode())
    return Prepared(FEW, (as_json(signals),), b"")


def as_json(signals: Sequence[Numbered]) -> str:
    return _encode([_row(*each) for each in signals]).decode()


def _row(order: int, signal: Signal, digest: bytes) -> dict[str, Any]:
    row = msgspec.structs.asdict(signal)
    row["ord"] = order
    row["instrument"] = instrument(signal.ecosystem, signal.symbol)
    row["digest"] = "\\x" + digest.hex()
    return row


# Kept by the session and emptied at each commit: creating one a transaction would cost a dozen catalogue rows
# each time. The number changes with the columns, since a pooled session may outlive an upgrade.
TABLE = "staged_signals_1"

PREPARE = f"""
    SET LOCAL client_min_messages = warning;
    CREATE TEMPORARY TABLE IF NOT EXISTS {TABLE} ({TYPED}) ON COMMIT DELETE ROWS"""

MANY_STAGED = IN_ORDER.format(relation=TABLE)
"""The same relation after `send`."""

# Signals hold no control characters, so one of them can stand for NULL.
NULL = "\x01"
COPY = f"COPY {TABLE} (ord, {COLUMNS}) FROM STDIN WITH (NULL '{NULL}')"


def send(cursor: Any, prepared: Prepared) -> None:
    """Fill the temporary table, inside the caller's transaction."""
    cursor.execute(PREPARE)
    with cursor.copy(COPY) as stream:
        stream.write(prepared.copied)


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
