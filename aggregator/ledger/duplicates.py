"""What a batch held that is on record already: duplicates, conflicts, and the sightings of duplicates."""

from collections.abc import Sequence
from typing import Any

import msgspec

from aggregator.ledger import sql
from aggregator.ledger.entries import Entry, Fate
from aggregator.ledger.recording import Numbered
from ecosystems.signal import Signal, parse


def find(cursor: Any, signals: Sequence[Numbered], base: int | None) -> dict[int, tuple[Fate, int]]:
    """Return each signal's fate and row by its number; of one whose row is not there, nothing.

    `base` is that of the batch's new signals, None if it had none.
    """
    identities = [
        {"ord": number, "ecosystem": signal.ecosystem, "signal_id": signal.signal_id}
        for number, signal, _, _ in signals
    ]
    digests = {number: digest for number, _, digest, _ in signals}
    cursor.execute(sql.FIND_RECORDED, {"identities": msgspec.json.encode(identities).decode(), "base": base})
    return {
        number: (
            Fate.ACCEPTED
            if is_new
            else Fate.DUPLICATE
            if (bytes(digest) if digest else _digest_of(as_json)) == digests[number]
            else Fate.CONFLICT,
            row_id,
        )
        for number, row_id, digest, is_new, as_json in cursor.fetchall()
    }


def _digest_of(as_json: str) -> bytes:
    """Return the digest of a row that an agent inserted and that is not recorded yet."""
    signal = parse(as_json.encode())
    return signal.digest() if isinstance(signal, Signal) else b""


def add_sightings(
    cursor: Any, entries: Sequence[Entry], found: dict[int, tuple[Fate, int]], transport: str
) -> None:
    """Remember which signals came again, and from where."""
    duplicates = [(number, row_id) for number, (fate, row_id) in found.items() if fate is Fate.DUPLICATE]
    if duplicates:
        parameters = {
            "transport": transport,
            "signals": [row_id for _, row_id in duplicates],
            "senders": [entries[number - 1].sender for number, _ in duplicates],
        }
        cursor.execute(sql.ADD_SIGHTINGS, parameters)
