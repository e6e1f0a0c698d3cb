"""How signals travel to Postgres, in the way that suits their number.

A few go as one JSON text in the very call that records them: no round trip, no catalogue, no privilege of
their own. Many go into a temporary table first, by COPY: three round trips, and a third of the work a signal.
`benchmarks/README.md` has the figures, and the ways that were slower.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ecosystems.market.symbols import instrument
from ecosystems.signal import Signal

MAX_INLINE = 640
"""Up to so many signals travel in the statement itself; COPY pays for itself beyond."""

NULL = "\x01"
"""What stands for NULL in COPY_STAGED."""

Numbered = tuple[int, Signal, bytes, str]
"""A number to order by, a signal, its digest and its sender."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Staged(NamedTuple):
    """Signals as Postgres gets them."""

    size: int
    """The greatest number that one of them may have."""
    inline: str = ""
    """As JSON; empty if they are copied, or if there are none."""
    copied: bytes = b""
    """As COPY takes them; empty if they are inline."""


def prepare(signals: Sequence[Numbered], size: int) -> Staged:
    """Return the signals as text, which needs no database."""
    if len(signals) > MAX_INLINE:
        return Staged(size, copied="".join([_line(*each) for each in signals]).encode())
    return Staged(size, inline=as_json(signals) if signals else "")


def as_json(signals: Sequence[Numbered]) -> str:
    return _encode([_row(*each) for each in signals]).decode()


def _row(order: int, signal: Signal, digest: bytes, sender: str) -> dict[str, Any]:
    row = msgspec.structs.asdict(signal)
    row["ord"] = order
    row["sender"] = sender
    row["instrument"] = instrument(signal.ecosystem, signal.symbol)
    row["digest"] = "\\x" + digest.hex()
    return row


def _line(order: int, signal: Signal, digest: bytes, sender: str) -> str:
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
            NULL if signal.refers_to is None else signal.refers_to,
            sender,
            instrument(signal.ecosystem, signal.symbol),
        )
    )
    if "\\" in line:
        line = line.replace("\\", "\\\\")
    return f"{line}\t\\\\x{digest.hex()}\n"
