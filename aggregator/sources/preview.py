"""What a source would make of a body: for people, recording nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from aggregator.models import Source
from aggregator.sources.presets import facts_of, source_translator
from ecosystems.market.symbols import instrument
from ecosystems.signal import Refusal, Signal, parse


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
    facts, now = facts_of(source), datetime.now(UTC)
    previews = []
    for translated in source_translator(source).translate(body, facts):
        parsed = translated.refusal or parse(translated.signal_json(facts, now), now)
        previews.append(
            BodyPreview(refusal=parsed) if isinstance(parsed, Refusal) else BodyPreview(signal=parsed)
        )
    return previews
