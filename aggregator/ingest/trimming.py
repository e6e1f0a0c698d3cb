"""Entries that left a stream before they were read: by its cap, by XTRIM, or deleted.

They are lost. They are counted in a dead letter, which makes the health check fail until an operator has
resolved it. A script looks at the stream and, in the same instant, moves the group past what is gone and
remembers the number in a hash, until a consumer has recorded it: so each loss is counted once, however many
consumers look and wherever one is killed. The script also spares Redis from sending the first and the last
entry whole, as XINFO STREAM does.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import msgspec

from aggregator.ledger.entries import TRIMMED_UNREAD, Entry
from ecosystems.signal import Refusal

GROUP = "aggregator"
LAST_ID = "18446744073709551615-18446744073709551615"
"""The greatest id that there can be: nothing can be added to a stream that has it."""

_LOOK = Path(__file__).with_suffix(".lua").read_text("utf-8")


class Look(NamedTuple):
    """A stream and the hub's group at one instant; in the order of the script's reply."""

    last_id: str
    """The greatest id that was ever given, `0-0` for none."""
    length: int
    first_id: str
    """Of the first entry that is there; empty where there is none."""
    read_id: str
    """Empty where there is no group."""
    pending: int
    lag: int
    """As Redis counts it; -1 where it does not."""
    lost: int
    """Entries that left unread and are in no dead letter, nor noted to become one."""
    is_counted: bool
    """False where `lost` is 1 for an unknown number."""
    noted: Mapping[str, int]
    """What was lost and is to be recorded, by the ids around it."""

    @classmethod
    def parse(cls, reply: Any) -> Self:
        """Return what a script's reply says."""
        *facts, noted = reply
        gaps = [gap.decode() for gap in noted[::2]]
        values = [fact.decode() if isinstance(fact, bytes) else fact for fact in facts]
        return cls._make([*values, dict(zip(gaps, map(int, noted[1::2]), strict=True))])

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


def look(pipeline: Any, stream: str, *, note: bool = False, seen_empty_at: str = "") -> None:
    """Ask for a look within a pipeline; `Look.parse` reads the reply.

    With `note`, what was lost is noted and the group moved past it; `seen_empty_at` is the id at which the
    stream was just seen empty and wholly read, if it was.
    """
    pipeline.eval(_LOOK, 2, stream, notes_key(stream), GROUP, seen_empty_at, int(note))


def entry_order(entry_id: str) -> tuple[int, int]:
    """Return the numbers that a stream's entries are sorted by."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence)


def is_loss(entry_id: str) -> bool:
    """Return whether an id is that of a loss that is noted, which has no message of its own."""
    return " to " in entry_id


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
