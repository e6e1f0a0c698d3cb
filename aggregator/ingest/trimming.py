"""Entries that a stream's cap removed before they were read.

They are lost. They are counted in a dead letter, which makes the health check fail until an operator has
resolved it.
"""

from typing import Any

import msgspec

from aggregator.ledger.entries import TRIMMED_UNREAD, Entry
from ecosystems.signal import Refusal


def trimmed_gap(stream: str, group: str, info: dict[str, Any], groups: list[dict[str, Any]]) -> Entry | None:
    """Return a dead letter for what was trimmed between the group's last read and the first entry there is.

    `info` and `groups` are Redis's XINFO STREAM and XINFO GROUPS of one instant.
    """
    first = info.get("first-entry")
    ours = next((item for item in groups if item["name"] == group.encode()), None)
    if not first or ours is None:
        return None
    after, before = ours["last-delivered-id"], first[0]
    if entry_order(before) <= entry_order(after):
        return None
    lost = _lost(info, ours)
    if lost == 0:
        return None
    return _letter(stream, "", lost, after=after.decode(), before=before.decode())


def _lost(info: dict[str, Any], group: dict[str, Any]) -> int:
    """Count what was trimmed unread: exactly since Redis 7, which counts; before that 1 stands for some.

    Before Redis 7 a group that has never read looks like one whose first entries were trimmed.
    """
    read = group.get("entries-read")
    never_read = group["last-delivered-id"] == b"0-0"
    if "entries-added" in info and (read is not None or never_read):
        return max(0, int(info["entries-added"]) - int(info["length"]) - int(read or 0))
    return 0 if never_read else 1


def trimmed_pending(stream: str, entry_id: bytes) -> Entry:
    """Return a dead letter for an entry that was trimmed while it was pending."""
    return _letter(stream, entry_id.decode(), 1)


def _letter(stream: str, entry_id: str, lost: int, **where: str) -> Entry:
    detail = f"{lost} or more entries were trimmed from the stream before they were read; raise its cap"
    return Entry(
        msgspec.json.encode({"stream": stream, "lost": lost} | where),
        stream=stream,
        entry_id=entry_id,
        deliveries=lost,
        refusal=Refusal(TRIMMED_UNREAD, detail),
    )


def entry_order(entry_id: bytes) -> tuple[int, int]:
    """Return the numbers that a stream's entries are sorted by."""
    milliseconds, _, sequence = entry_id.partition(b"-")
    return int(milliseconds), int(sequence)
