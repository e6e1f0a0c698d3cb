"""How signals travel to Postgres, in the way that suits their number.

A few go as one JSON text in the very call that records them: no round trip, no catalogue, no privilege of
their own. Many go into a temporary table first, by COPY: three round trips, and a third of the work a signal.
`benchmarks/README.md` has the figures, and the ways that were slower.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from aggregator.ledger.entries import Entry
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal

MAX_INLINE = 640
"""Up to so many signals travel in the statement itself; COPY pays for itself beyond."""

MAX_TRANSACTION_BYTES = 32 * 1024 * 1024
"""Of entries in one transaction: their text is in the memory of both sides, several times over."""
MAX_SINGLY = 64
"""Signals recorded one by one in one transaction. Each is a subtransaction, and with more of them than this
every other transaction would have to look them up on disk."""

Validated = tuple[Entry, Signal | Refusal, bytes]
"""An entry, what `parse` returned for it, and the digest of its signal (b"" for a refusal)."""
Numbered = tuple[int, Signal, bytes, str]
"""A number to order by, a signal, its digest and its sender."""

_encode = msgspec.json.Encoder(decimal_format="number").encode


class Batch:
    """Validated entries, prepared for `ledger.write`.

    All that Postgres gets of them is made here: a thread may do so while another one writes, and no
    transaction is open all the while.
    """

    def __init__(self, validated: Sequence[Validated]) -> None:
        self.validated = validated
        self.signals: list[Numbered] = [
            (number, signal, digest, entry.sender)
            for number, (entry, signal, digest) in enumerate(validated, 1)
            if isinstance(signal, Signal)
        ]
        # What Postgres gets of a few is small, whatever space stands in their bytes.
        are_many = len(validated) > MAX_SINGLY
        self.too_large = are_many and sum(len(entry.raw) for entry, _, _ in validated) > MAX_TRANSACTION_BYTES
        self.inline = ""
        """The signals as JSON; empty if they are copied, if there are none, or if they are too large."""
        self.copied = b""
        """The signals as COPY takes them; empty if they are inline."""
        if not self.too_large and len(self.signals) > MAX_INLINE:
            self.copied = b"\n".join([_line(*each) for each in self.signals])
        elif not self.too_large and self.signals:
            self.inline = as_json(self.signals)

    @property
    def entries(self) -> list[Entry]:
        return [entry for entry, _, _ in self.validated]


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
