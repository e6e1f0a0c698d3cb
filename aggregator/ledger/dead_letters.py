"""Where entries go that cannot become signals: kept as they came, with the reason."""

import hashlib
from collections.abc import Iterable
from typing import Any

from aggregator.ledger.entries import Entry
from ecosystems.signal import Refusal

KEEP = """
    INSERT INTO dead_letters (fingerprint, transport, code, field, detail, raw, ecosystem, signal_id,
        agent_source, sender, stream, entry_id, deliveries, times, first_at, last_at)
    SELECT fingerprint, %s, code, field, detail, raw, ecosystem, signal_id, agent_source, sender, stream,
        entry_id, deliveries, times, now(), now()
    FROM unnest(%s::bytea[], %s::text[], %s::text[], %s::text[], %s::bytea[], %s::text[], %s::text[],
        %s::text[], %s::text[], %s::text[], %s::text[], %s::int[], %s::int[])
        AS dead (fingerprint, code, field, detail, raw, ecosystem, signal_id, agent_source, sender, stream,
            entry_id, deliveries, times)
    ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO UPDATE SET times = dead_letters.times + excluded.times,
        deliveries = greatest(dead_letters.deliveries, excluded.deliveries),
        last_at = excluded.last_at, resolved_at = NULL"""


def write_dead_letters(cursor: Any, dead: Iterable[tuple[Entry, Refusal]], transport: str) -> None:
    """Keep the entries, in one query of the caller's transaction.

    The very same bytes from the same place for the same reason are one dead letter that counts its times:
    a stream entry that is delivered again after a crash, or a sender who repeats itself.
    """
    rows: dict[bytes, list[Any]] = {}
    for entry, refusal in dead:
        mark = fingerprint(entry, refusal, transport)
        if mark in rows:
            rows[mark][-1] += 1
        else:
            rows[mark] = [
                mark,
                refusal.code,
                refusal.field or "",
                refusal.detail,
                entry.raw,
                refusal.ecosystem,
                refusal.signal_id or "",
                refusal.agent_source,
                entry.sender,
                entry.stream,
                entry.entry_id,
                entry.deliveries,
                1,
            ]
    if rows:
        cursor.execute(KEEP, [transport, *map(list, zip(*rows.values(), strict=True))])


def fingerprint(entry: Entry, refusal: Refusal, transport: str) -> bytes:
    origin = "\0".join((transport, refusal.code, entry.sender, entry.stream, entry.entry_id))
    return hashlib.sha256(origin.encode() + b"\0" + entry.raw).digest()
