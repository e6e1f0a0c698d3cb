"""Recording dead letters again, after what was wrong has been corrected."""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from itertools import groupby
from operator import attrgetter

from django.db.models import F
from django.utils import timezone

from aggregator import ledger
from aggregator.ledger import Entry, Fate, Result
from aggregator.ledger.dead_letters import fingerprint
from aggregator.ledger.entries import NO_PAYLOAD, TRIMMED_UNREAD
from aggregator.models import ApiKey, DeadLetter

UNREPLAYABLE = (TRIMMED_UNREAD, NO_PAYLOAD.code)
"""Codes of letters that never held a signal: they stand for something lost."""


class Skipped(StrEnum):
    """Why a letter is not replayed."""

    NO_SIGNAL = "it contains no signal"
    CUT = "only a part of the entry was kept"


def replay(letters: Sequence[DeadLetter]) -> dict[int, Fate | Skipped]:
    """Record the letters' entries anew; return each letter's fate by its id, or why it has none.

    A letter that is on record now is resolved. So is one that is refused for another reason than before: its
    entry is a new letter. Raises Outage; a replay that was cut short can be done again.
    """
    fates: dict[int, Fate | Skipped] = {
        letter.pk: Skipped.NO_SIGNAL if letter.code in UNREPLAYABLE else Skipped.CUT for letter in letters
    }
    playable = [letter for letter in letters if not letter.is_cut and letter.code not in UNREPLAYABLE]
    playable.sort(key=attrgetter("transport", "pk"))
    allowed = _allowed_ecosystems(playable)
    for transport, group in groupby(playable, key=attrgetter("transport")):
        batch = list(group)
        entries = [_entry(letter, allowed.get(letter.sender)) for letter in batch]
        # A dead agent must not look alive: its letters came in when they did.
        first_received_at = min(letter.last_at for letter in batch)
        results = ledger.record(entries, transport, first_received_at)
        _update_letters(batch, entries, results, transport)
        fates.update({letter.pk: result.fate for letter, result in zip(batch, results, strict=True)})
    return fates


def replay_counts(fates: dict[int, Fate | Skipped]) -> dict[str, int]:
    """Return how many letters met each fate, in an operator's words."""
    counts = Counter(fates.values())
    return {
        "recorded": counts[Fate.ACCEPTED],
        "already recorded": counts[Fate.DUPLICATE],
        "refused again": counts[Fate.REFUSED] + counts[Fate.CONFLICT],
        "skipped": counts[Fate.DEFERRED] + sum(counts[reason] for reason in Skipped),
    }


def _entry(letter: DeadLetter, ecosystems: frozenset[str] | None) -> Entry:
    return Entry(
        bytes(letter.raw), letter.sender, ecosystems, letter.stream, letter.entry_id, letter.deliveries
    )


def _allowed_ecosystems(letters: Sequence[DeadLetter]) -> dict[str, frozenset[str] | None]:
    """Return what each sender may write to now: replaying must not widen what a key was given."""
    ids = {letter.sender.removeprefix("key:") for letter in letters if letter.sender.startswith("key:")}
    keys = ApiKey.objects.filter(key_id__in=ids)
    return {f"key:{key.key_id}": frozenset(key.ecosystems) if key.ecosystems else None for key in keys}


def _update_letters(
    letters: Sequence[DeadLetter], entries: Sequence[Entry], results: Sequence[Result], transport: str
) -> None:
    """Resolve letters with a final result; one that is refused as before did not come in once more."""
    resolved, refused_again = [], []
    for letter, entry, result in zip(letters, entries, results, strict=True):
        if not result.is_final:
            continue
        if result.refusal and fingerprint(entry, result.refusal, transport) == bytes(letter.fingerprint):
            refused_again.append(letter.pk)
        else:
            resolved.append(letter.pk)
    DeadLetter.objects.filter(pk__in=resolved).update(resolved_at=timezone.now())
    DeadLetter.objects.filter(pk__in=refused_again).update(times=F("times") - 1)
