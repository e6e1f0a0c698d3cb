"""What a source received lately, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db.models import Count, Q, QuerySet, Sum, TextField
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils import timezone

from aggregator.admin.base import url_number
from aggregator.ledger.source_entries import SENDER_PREFIX
from aggregator.models import DeadLetter, Source, TradingSignal

MAX_BODIES = 10
MAX_EXCERPT = 160


@dataclass(frozen=True)
class ReceivedBody:
    """One signal's body, with what it became."""

    at: datetime
    became: str
    is_signal: bool
    link: str
    key: str
    """Names it in the address of the mapping's editor."""
    text: str

    @property
    def excerpt(self) -> str:
        line = " ".join(self.text.split())
        return line if len(line) <= MAX_EXCERPT else f"{line[:MAX_EXCERPT]}…"


def last_bodies(source: Source) -> list[ReceivedBody]:
    """Return the newest bodies of a source, from the ledger and the dead letters."""
    signals = TradingSignal.objects.filter(_sent_by(source)).order_by("-received_at")[:MAX_BODIES]
    letters = DeadLetter.objects.filter(_sent_by(source)).order_by("-last_at")[:MAX_BODIES]
    bodies = [*map(_recorded, _with_payload(signals)), *map(_refused, letters)]
    return sorted(bodies, key=lambda body: body.at, reverse=True)[:MAX_BODIES]


def find_body(source: Source, key: str) -> ReceivedBody | None:
    """Return a body of the source by its key, None if there is none."""
    kind, _, number = key.partition("-")
    pk = url_number(number)
    if pk is None:
        return None
    if kind == "letter":
        letter = DeadLetter.objects.filter(_sent_by(source), pk=pk).first()
        return _refused(letter) if letter else None
    found = _with_payload(TradingSignal.objects.filter(_sent_by(source), pk=pk))
    return _recorded(found[0]) if found else None


def received_counts(source: Source) -> dict[str, int]:
    """Return how many signals the source sent within the last minute, hour and day."""
    now = timezone.now()
    spans = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1), "day": timedelta(days=1)}
    counts = {name: Count("pk", filter=Q(received_at__gt=now - span)) for name, span in spans.items()}
    day = TradingSignal.objects.filter(_sent_by(source), received_at__gt=now - spans["day"])
    return day.aggregate(**counts)


def _sent_by(source: Source) -> Q:
    # The prefix by itself, which is what the index is for.
    return Q(sender=f"{SENDER_PREFIX}{source.name}", sender__startswith=SENDER_PREFIX)


def _with_payload(signals: QuerySet[TradingSignal]) -> Sequence[Any]:
    """Return signals with their payload as it is written, numbers and all, and how often they came again."""
    payload, repeated = Cast("raw_payload", TextField()), Sum("sightings__times", default=0)
    return list(signals.defer("raw_payload").annotate(payload=payload, repeated=repeated))


def _recorded(signal: Any) -> ReceivedBody:
    link = reverse("admin:aggregator_tradingsignal_change", args=[signal.pk])
    became = f"{signal.action} {signal.instrument or signal.symbol}"
    if signal.signal_type != "MARKET":
        became += f" ({signal.signal_type.lower()})"
    if signal.repeated:
        became += f", {signal.repeated} {'duplicate' if signal.repeated == 1 else 'duplicates'}"
    return ReceivedBody(signal.received_at, became, True, link, f"signal-{signal.pk}", _text(signal.payload))


def _text(payload: str) -> str:
    """Return the body that a payload keeps: JSON itself, or a text under one key."""
    content = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    if content.keys() == {"text"}:
        return str(msgspec.json.decode(content["text"]))
    return payload


def _refused(letter: DeadLetter) -> ReceivedBody:
    link = reverse("admin:aggregator_deadletter_change", args=[letter.pk])
    raw = bytes(letter.raw).decode("utf-8", "backslashreplace")
    return ReceivedBody(letter.last_at, letter.code, False, link, f"letter-{letter.pk}", raw)
