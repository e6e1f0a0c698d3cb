"""The entries that a source's body becomes, when it comes in and when its dead letter is replayed."""

from datetime import UTC, datetime
from typing import NamedTuple, Self

from aggregator.ledger.entries import Entry
from aggregator.models import DeadLetter, Source
from aggregator.sources.arrival_times import first_arrivals
from aggregator.sources.translation import Translated, translate

SENDER_PREFIX = "source:"
MAX_MILLISECONDS = 253_402_300_799_000
"""The last second that a datetime can be."""


class Arrival(NamedTuple):
    """When a body came in, and where it is in a stream, if it came by one."""

    at: datetime
    stream: str = ""
    entry_id: str = ""
    deliveries: int = 1

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Return when a letter's body came in. A letter without a note of it stands for the first time."""
        if letter.stream:
            return cls.in_stream(letter.stream, letter.entry_id, letter.deliveries)
        return cls(datetime.fromisoformat(letter.entry_id) if letter.entry_id else letter.first_at)

    @classmethod
    def in_stream(cls, stream: str, entry_id: str, deliveries: int) -> Self:
        """Return when an entry was added to its stream."""
        # Who adds an entry may choose its id, up to 2**64.
        milliseconds = min(int(entry_id.partition("-")[0]), MAX_MILLISECONDS)
        return cls(datetime.fromtimestamp(milliseconds / 1000, UTC), stream, entry_id, deliveries)


def source_entries(source: Source, body: bytes, arrival: Arrival | None = None) -> list[Entry]:
    """Return the entries of a body, as the source's mapping is now; its `arrival`, if that is known already.

    An entry whose time is that of its arrival has it as its id: so a dead letter remembers it, and the same
    body an hour later is another letter.
    """
    translated = translate(source, body)
    timeless = [each.digest() for each in translated if each.is_timeless]
    first = first_arrivals(source, timeless) if timeless and arrival is None else {}
    return [_entry(source, each, arrival, first.get(each.digest())) for each in translated]


def _entry(
    source: Source, translated: Translated, arrival: Arrival | None, first_at: datetime | None
) -> Entry:
    arrived_at = arrival.at if arrival else first_at
    entry_id = arrival.entry_id if arrival else ""
    if not entry_id and translated.is_timeless and arrived_at:
        entry_id = arrived_at.isoformat()
    return Entry(
        translated.raw,
        f"{SENDER_PREFIX}{source.name}",
        agents=frozenset(source.agents) or None,
        stream=arrival.stream if arrival else "",
        entry_id=entry_id,
        deliveries=arrival.deliveries if arrival else 1,
        refusal=translated.refusal,
        mapped=b"" if translated.refusal else translated.signal_json(source, arrived_at),
    )
