"""Entries that left a stream before they were read: by its cap, by XTRIM, or deleted.

They are lost. They are counted in a dead letter, which makes the health check fail until an operator has
resolved it. A script looks at the stream and, in the same instant, moves the group past what is gone and
remembers the number in a hash, until a consumer has recorded it: so each loss is counted once, however many
consumers look and wherever one is killed. The script also spares Redis from sending the first and the last
entry whole, as XINFO STREAM does.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import msgspec

from aggregator.ledger.entries import TRIMMED_UNREAD, Entry
from ecosystems.signal import Refusal

GROUP = "aggregator"
LAST_ID = "18446744073709551615-18446744073709551615"
"""The greatest id that there can be: nothing can be added to a stream that has it."""

# Since 7.0 Redis counts the entries that were ever added, and those that the group is past: so it is known
# exactly how many left unread. But a group's own count does not grow by what it did not read, so it is set.
# Before 7.0 what is gone shows only by the first entry, or the last id of an empty stream, being after what
# was read: it counts as 1. A stream that the hub just saw empty and wholly read (ARGV[2]) lost nothing by its
# next entry. The numbers of an id are compared as text: Lua's have 53 bits.
_LOOK = """
local function by_name(list)
  local found = {}
  for index = 1, #list, 2 do found[list[index]] = list[index + 1] end
  return found
end
local function is_before(one, other)
  local ours, theirs = {one:match('(%d+)-(%d+)')}, {other:match('(%d+)-(%d+)')}
  for index = 1, 2 do
    if #ours[index] ~= #theirs[index] then return #ours[index] < #theirs[index] end
    if ours[index] ~= theirs[index] then return ours[index] < theirs[index] end
  end
  return false
end
local info = by_name(redis.call('XINFO', 'STREAM', KEYS[1]))
local first = info['first-entry'] and info['first-entry'][1] or ''
local last, length, added = info['last-generated-id'], info['length'], info['entries-added']
local group
for _, each in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
  each = by_name(each)
  if each['name'] == ARGV[1] then group = each end
end
if not group then return {last, length, first} end
local read, passed = group['last-delivered-id'], group['entries-read'] or nil
local lost = 0
if is_before(read, first ~= '' and first or last) then
  if added and (passed or read == '0-0') then
    lost = math.max(0, added - length - (passed or 0))
  elseif read ~= ARGV[2] and (read ~= '0-0' or first == '') then
    lost = 1
  end
end
local noted = {}
if KEYS[2] then
  local target = first ~= '' and read or last
  if lost > 0 then redis.call('HSET', KEYS[2], read .. ' to ' .. first, lost) end
  if added and (lost > 0 or (read == last and passed ~= added)) then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target, 'ENTRIESREAD', added - (lost > 0 and length or 0))
  elseif lost > 0 and first == '' then
    redis.call('XGROUP', 'SETID', KEYS[1], ARGV[1], target)
  end
  noted = redis.call('HGETALL', KEYS[2])
end
return {last, length, first, read, group['pending'], group['lag'] or -1, lost, added and 1 or 0, noted}
"""


@dataclass(frozen=True)
class Look:
    """A stream and the hub's group at one instant."""

    last_id: str
    """The greatest id that was ever given, `0-0` for none."""
    length: int
    first_id: str
    """Of the first entry that is there; empty where there is none."""
    has_group: bool = False
    read_id: str = "0-0"
    pending: int = 0
    lag: int | None = None
    """As Redis counts it; None where it does not."""
    lost: int = 0
    """Entries that left unread and are in no dead letter, nor noted to become one."""
    is_counted: bool = True
    """False where `lost` is 1 for an unknown number."""
    noted: Mapping[str, int] = field(default_factory=dict)
    """What was lost and is to be recorded, by what `recorded` needs."""

    @classmethod
    def parse(cls, reply: Any) -> Self:
        """Return what a script's reply says."""
        last, length, first, *rest = reply
        if not rest:
            return cls(last.decode(), length, first.decode())
        read, pending, lag, lost, counted, noted = rest
        return cls(
            last.decode(),
            length,
            first.decode(),
            True,
            read.decode(),
            pending,
            None if lag < 0 else lag,
            lost,
            bool(counted),
            {gap.decode(): int(count) for gap, count in zip(noted[::2], noted[1::2], strict=True)},
        )

    @property
    def is_read_and_empty(self) -> bool:
        """Return whether the next entry, whatever its id, follows on what was read."""
        return not self.first_id and self.read_id == self.last_id

    def letters(self, stream: str) -> Iterator[Entry]:
        """Yield a dead letter for each loss that is noted."""
        for gap, lost in self.noted.items():
            yield _letter(stream, gap, lost, self.is_counted)


def notes_key(stream: str) -> str:
    """Return the key of the hash of losses that are to be recorded; it is among the hub's own."""
    return f"signal_hub:trimmed:{stream}"


def look(client: Any, stream: str) -> Any:
    """Ask for a look, by a client or within a pipeline; `Look.parse` reads the reply."""
    return client.eval(_LOOK, 1, stream, GROUP, "")


def note_losses(client: Any, stream: str, seen_empty_at: str) -> Any:
    """Do the same, and note what was lost and move the group past it.

    `seen_empty_at` is the id at which the stream was just seen empty and wholly read, if it was.
    """
    return client.eval(_LOOK, 2, stream, notes_key(stream), GROUP, seen_empty_at)


def entry_order(entry_id: str) -> tuple[int, int]:
    """Return the numbers that a stream's entries are sorted by."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def is_loss(entry: Entry) -> bool:
    """Return whether an entry stands for a loss that is noted, and has no message of its own."""
    return " to " in entry.entry_id


def trimmed_pending(stream: str, entry_id: str) -> Entry:
    """Return a dead letter for an entry that was trimmed while it was pending."""
    return _letter(stream, entry_id, 1, True)


def _letter(stream: str, entry_id: str, lost: int, is_counted: bool) -> Entry:
    number = f"{lost}" if is_counted else "an unknown number"
    return Entry(
        msgspec.json.encode({"stream": stream, "entries": entry_id, "lost": lost}),
        stream=stream,
        entry_id=entry_id,
        deliveries=lost,
        refusal=Refusal(TRIMMED_UNREAD, f"{number} of entries left the stream unread; raise its cap"),
    )
