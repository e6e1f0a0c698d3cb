"""Recording dead letters again, after what was wrong has been corrected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import groupby, islice
from operator import attrgetter
from typing import NamedTuple

from django.utils import timezone

from aggregator import ledger
from aggregator.ledger import Entry, Fate, Result
from aggregator.ledger.dead_letters import fingerprint
from aggregator.ledger.entries import NO_PAYLOAD, TRIMMED_UNREAD
from aggregator.ledger.source_entries import SENDER_PREFIX, Arrival, source_entries
from aggregator.models import ApiKey, DeadLetter, Source

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
        letter.pk: Skipped.CUT if letter.is_cut and letter.code not in UNREPLAYABLE else Skipped.NO_SIGNAL
        for letter in letters
    }
    playable = [letter for letter in letters if not letter.is_cut and letter.code not in UNREPLAYABLE]
    playable.sort(key=attrgetter("transport", "pk"))
    senders = {letter.sender for letter in playable}
    names = [sender.removeprefix(SENDER_PREFIX) for sender in senders]
    sources = {f"{SENDER_PREFIX}{source.name}": source for source in Source.objects.filter(name__in=names)}
    key_ids = [sender.removeprefix("key:") for sender in senders]
    keys = {f"key:{key.key_id}": key for key in ApiKey.objects.filter(key_id__in=key_ids)}
    for transport, group in groupby(playable, key=attrgetter("transport")):
        batch = [(letter, _entries(letter, keys, sources)) for letter in group]
        # A dead agent must not look alive: its letters came in when they did.
        first_received_at = min(letter.last_at for letter, _ in batch)
        entries = [entry for _, own in batch for entry in own]
        results = iter(ledger.record(entries, transport, first_received_at))
        replayed = [_Replayed(letter, own, list(islice(results, len(own)))) for letter, own in batch if own]
        _resolve(replayed, transport)
        fates.update({each.letter.pk: each.fate for each in replayed})
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


class _Replayed(NamedTuple):
    """A letter with the entries that it became, and their results."""

    letter: DeadLetter
    entries: list[Entry]
    results: list[Result]

    @property
    def fate(self) -> Fate:
        """Return the worst fate of its entries."""
        return max((result.fate for result in self.results), key=list(Fate).index)


def _entries(letter: DeadLetter, keys: Mapping[str, ApiKey], sources: Mapping[str, Source]) -> list[Entry]:
    """Return what a letter is to the ledger; a source's body, as the source's mapping is now.

    Its key's rights are those of now as well: replaying must not widen what a key was given.
    """
    raw = bytes(letter.raw)
    # Who inserts a row may have named any sender.
    if letter.transport != "database" and (source := sources.get(letter.sender)):
        return source_entries(source, raw, Arrival.of(letter))
    key = keys.get(letter.sender)
    ecosystems = frozenset(key.ecosystems) if key and key.ecosystems else None
    agents = frozenset(key.agents) if key and key.agents else None
    place = letter.stream, letter.entry_id, letter.deliveries
    return [Entry(raw, letter.sender, ecosystems, *place, agents=agents)]


def _resolve(replayed: Sequence[_Replayed], transport: str) -> None:
    """Resolve the letters that have final results only, and are not refused as before."""
    resolved: list[int] = []
    for letter, entries, results in replayed:
        refused = [
            fingerprint(entry, result.refusal, transport)
            for entry, result in zip(entries, results, strict=True)
            if result.refusal
        ]
        if all(result.is_final for result in results) and bytes(letter.fingerprint) not in refused:
            resolved.append(letter.pk)
    DeadLetter.objects.filter(pk__in=resolved).update(resolved_at=timezone.now())
