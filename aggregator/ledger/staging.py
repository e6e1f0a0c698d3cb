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
        return Staged(size, copied=b"\n".join([_line(*each) for each in signals]))
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


def _line(order: int, signal: Signal, digest: bytes, sender: str) -> bytes:
    """Return a row for COPY_STAGED: a JSON array less its brackets."""
    *values, _, _, refers_to = msgspec.structs.astuple(signal)
    row = (
        order,
        *values,
        signal.tags_json().decode() if signal.tags else "[]",
        signal.payload_json().decode(),
        refers_to,
        sender,
        instrument(signal.ecosystem, signal.symbol),
        f"\\x{digest.hex()}",
    )
    return _encode(row)[1:-1]
