"""From a producer's body to signals: what a mapping makes of it. Nothing is recorded here."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from aggregator.models import Source
from aggregator.sources.bodies import Document, Part, parse_body
from aggregator.sources.expressions import exact
from aggregator.sources.mapping import InvalidMapping, Mapping, Unmapped, compile_mapping
from aggregator.sources.presets import CUSTOM, presets
from aggregator.sources.redaction import Redaction
from ecosystems.signal import RULES, Refusal

PRICES = ("entry_price", "stop_loss", "take_profit", "volume")
NO_PRICE = frozenset({"none", "null", "nan", "na", "n/a"})
"""What templates write where there is no price."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MAX_EPOCH_DIGITS = 20
OTHER_ECOSYSTEM = Refusal(
    "other_ecosystem", "the source may send signals of its own ecosystem only", "ecosystem"
)
NO_MAPPING = Refusal("no_mapping", "the source has no mapping that can be used")
_encode = msgspec.json.Encoder(decimal_format="number").encode


@dataclass(frozen=True)
class Translated:
    """One signal's bytes, without secrets, and the fields of the signal or why there is none."""

    raw: bytes
    number: int = 0
    """Of the signals that one document becomes."""
    fields: dict[str, Any] | None = None
    refusal: Refusal | None = None

    @property
    def is_timeless(self) -> bool:
        """Return whether the signal's time, or its being a new one, depends on when the body came in."""
        return self.refusal is not None or (self.fields is not None and "timestamp" not in self.fields)

    def digest(self) -> bytes:
        """Return what identifies the body among those of its source."""
        return hashlib.sha256(self.raw).digest()

    def signal_json(self, source: Source, arrived_at: datetime | None) -> bytes:
        """Return the signal as JSON, for the schema to check. `arrived_at` stands in where it has no time."""
        assert self.fields is not None, "the caller looks at the refusal first"
        fields, arrival = dict(self.fields), ""
        if "timestamp" not in fields:
            assert arrived_at is not None, "the caller knows it of what is timeless"
            fields["timestamp"] = arrival = arrived_at.astimezone(UTC).isoformat()
        if "signal_id" not in fields:
            # Bodies without a time of their own differ by when they came in.
            facts = b"\0".join(text.encode() for text in (source.name, arrival, str(self.number)))
            digest = hashlib.sha256(facts + b"\0" + self.raw).hexdigest()
            fields["signal_id"] = f"{source.name}:{digest[:32]}"
        return _encode(fields)


def translate(source: Source, body: bytes) -> list[Translated]:
    """Return what a source's body becomes, in its order; never raises, whatever the bytes.

    What the mapping skips is left out, so the list may be empty.
    """
    mapping, redactions = _rules(source.preset, source.mapping)
    for redaction in redactions:
        body = redaction.redact(body)
    if mapping is None:
        return [Translated(body, refusal=_about(NO_MAPPING, source))]
    parts = parse_body(body, mapping)
    return [translated for part in parts for translated in _translate_part(part, mapping, source)]


@lru_cache(maxsize=256)
def _rules(preset: str, own: str) -> tuple[Mapping | None, Sequence[Redaction]]:
    """Return the mapping that applies to a source, None where there is none that can be used; its redactions.

    `own` is the text of the source's own mapping, which may be empty. Of an unknown preset nothing else
    applies. The preset's redaction does also where the source's own mapping is another, or broken.
    """
    given = compile_mapping((presets().get(preset) or presets()[CUSTOM]).mapping)
    mapping, redactions = given, [given.redaction]
    if own:
        try:
            mapping = compile_mapping(own)
        except InvalidMapping:
            return None, redactions
        redactions.append(mapping.redaction)
    return None if mapping.is_empty else mapping, redactions


def _about(refusal: Refusal, source: Source) -> Refusal:
    """Return a refusal that names the source's ecosystem and agent."""
    return msgspec.structs.replace(refusal, ecosystem=source.ecosystem, agent_source=source.agent)


def _translate_part(part: Part, mapping: Mapping, source: Source) -> Iterator[Translated]:
    if part.refusal:
        yield Translated(part.raw, refusal=_about(part.refusal, source))
        return
    document = {**part.document, "hub": {"source": source.name, **mapping.settings}}
    if mapping.skip and mapping.skip.search(document) not in (None, False, "", [], {}):
        return
    documents = mapping.each.search(document) if mapping.each else None
    for number, each in enumerate(documents if isinstance(documents, list) and documents else [document]):
        if not isinstance(each, dict):
            continue
        found = _fields(each, part, mapping, source)
        if isinstance(found, Refusal):
            yield Translated(part.raw, number, refusal=_about(found, source))
        else:
            yield Translated(part.raw, number, found)


def _fields(document: Document, part: Part, mapping: Mapping, source: Source) -> dict[str, Any] | Refusal:
    """Return the fields of a signal that are not null or empty, each in the form that the schema takes."""
    found = dict(part.document) if mapping.pass_through else {"raw_payload": part.payload}
    name = ""
    try:
        for name, field in mapping.let.items():
            document = {**document, name: field.find(document)}  # which may be the document itself
        for name, field in mapping.fields.items():
            found[name] = _FORMS.get(name, _text)(field.find(document))
    except Unmapped:
        detail = f"the mapping has no value of {name} for what the body holds"
        return Refusal("unmapped_value", detail, name if name in RULES else None)
    fields = {"ecosystem": source.ecosystem, "agent_source": source.agent}
    fields |= {name: value for name, value in found.items() if value is not None and value != ""}
    if source.ecosystem and fields["ecosystem"] != source.ecosystem:
        return OTHER_ECOSYSTEM
    return {name: value for name, value in fields.items() if value != ""}


def _text(value: Any) -> Any:
    """Return a number as the text that it is written as: ids and tickers may be numbers in a body."""
    return str(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else value


def _price(value: Any) -> Any:
    return None if isinstance(value, str) and value.lower() in NO_PRICE else value


def _moment(value: Any) -> Any:
    """Return a time as RFC 3339, where it is seconds, milliseconds, micro- or nanoseconds since the epoch."""
    number = exact(value)
    if number is None:
        return value
    seconds = Decimal(number)
    if seconds.adjusted() > MAX_EPOCH_DIGITS:
        return str(value)
    while abs(seconds) >= 10**11:
        seconds /= 1000
    try:
        return (EPOCH + timedelta(microseconds=int(seconds * 1_000_000))).isoformat()
    except OverflowError:  # before the year 1
        return str(value)


def _as_is(value: Any) -> Any:
    return value


_FORMS = dict.fromkeys(PRICES, _price) | {"timestamp": _moment, "confidence": _as_is, "tags": _as_is}
