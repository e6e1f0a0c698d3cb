"""Dead letters: entries that could not become signals, kept with their bytes and the reason.

Nothing that an entry holds can make the writing of its letter fail: of a large one the head is kept, with the
length and the SHA-256 of the whole, by which its sender can find it again. Of what a sender sends beyond its
limit of a day, the head is left out as well.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from aggregator.ledger import sql
from aggregator.ledger.entries import Entry, Result
from ecosystems.signal import Refusal

MAX_LETTER_BYTES = 65_536
"""Of an entry; what is longer is cut."""


def write_dead_letters(
    cursor: Any, entries: Sequence[Entry], results: Sequence[Result], transport: str, *, is_replay: bool
) -> None:
    """Keep the entries that were refused for good, in one query of the caller's transaction.

    The very same bytes from the same place for the same reason are one dead letter that counts its times:
    a stream entry that is delivered again after a crash, or a sender that repeats itself. One that is refused
    as before when it is replayed did not come in once more.
    """
    letters: dict[bytes, dict[str, Any]] = {}
    for entry, result in zip(entries, results, strict=True):
        if result.refusal is not None and result.is_final:
            letter = _letter(entry, result.refusal, transport)
            letters.setdefault(letter["fingerprint"], letter)["times"] += 1
    if letters:
        rows = list(letters.values())
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        parameters = {
            "transport": transport,
            "limit": settings.ENVIRONMENT.sender_dead_letter_bytes,
            "is_replay": is_replay,
        }
        cursor.execute(sql.WRITE_DEAD_LETTERS, parameters | columns)


def _letter(entry: Entry, refusal: Refusal, transport: str) -> dict[str, Any]:
    length, sha256 = entry.whole or _whole(entry.raw)
    return {
        "fingerprint": fingerprint(entry, refusal, transport),
        "code": refusal.code,
        "field": refusal.field or "",
        "detail": refusal.detail,
        "raw": entry.raw[:MAX_LETTER_BYTES],
        "length": length,
        "sha256": sha256,
        "ecosystem": refusal.ecosystem,
        "signal_id": refusal.signal_id or "",
        "agent_source": refusal.agent_source,
        "sender": entry.sender,
        "stream": entry.stream,
        "entry_id": entry.entry_id,
        "deliveries": entry.deliveries,
        "origin": entry.sender or entry.stream or transport,
        "times": 0,
    }


def _whole(raw: bytes) -> tuple[int, bytes] | tuple[None, None]:
    """Return the length and SHA-256 of bytes that are to be cut, else None for both."""
    return (len(raw), hashlib.sha256(raw).digest()) if len(raw) > MAX_LETTER_BYTES else (None, None)


def fingerprint(entry: Entry, refusal: Refusal, transport: str) -> bytes:
    """Return what identifies a dead letter."""
    origin = "\0".join((transport, refusal.code, entry.sender, entry.stream, entry.entry_id))
    return hashlib.sha256(origin.encode() + b"\0" + entry.raw).digest()
