"""What a source would make of a body: for people, recording nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from aggregator import ledger
from aggregator.ledger.source_entries import Arrival, source_entries
from aggregator.models import Source
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal


@dataclass(frozen=True)
class BodyPreview:
    """One signal that a body would become, or why it would be a dead letter."""

    signal: Signal | None = None
    refusal: Refusal | None = None

    def fields(self) -> dict[str, object]:
        """Return the signal's fields, those that are empty left out, and the instrument it would get."""
        assert self.signal is not None, "the caller looks at the refusal first"
        fields = msgspec.to_builtins(self.signal, builtin_types=(datetime,))
        del fields["raw_payload"]
        shown = {name: value for name, value in fields.items() if value not in (None, "", (), [], {})}
        shown["timestamp"] = self.signal.timestamp.isoformat()
        return shown | {"instrument": instrument(self.signal.ecosystem, self.signal.symbol)}


def preview(source: Source, body: bytes) -> list[BodyPreview]:
    """Return what a body would become if it came in now; nothing for one that the mapping skips."""
    entries = source_entries(source, body, Arrival(datetime.now(UTC)))
    return [
        BodyPreview(refusal=found) if isinstance(found, Refusal) else BodyPreview(signal=found)
        for _, found, _ in ledger.validate(entries)
    ]
