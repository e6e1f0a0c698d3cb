"""Counting entries that were not recorded; what is recorded, a follower counts."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from aggregator.ledger import rollup_writer
from aggregator.ledger.entries import Fate, Result
from aggregator.ledger.rollup_writer import Arrivals


def count_unrecorded(cursor: Any, results: Iterable[Result], transport: str) -> None:
    """Add duplicates, conflicts and refusals to the rollups, in one query of the caller's transaction."""
    counts: dict[tuple[str, str], Counter[Fate]] = {}
    for result in results:
        subject = result.refusal or result.signal
        if subject and result.is_final and result.fate is not Fate.ACCEPTED:
            counts.setdefault((subject.ecosystem, subject.agent_source), Counter())[result.fate] += 1
    arrivals = [
        Arrivals(
            ecosystem,
            agent,
            transport,
            duplicates=fates[Fate.DUPLICATE],
            conflicts=fates[Fate.CONFLICT],
            refused=fates[Fate.REFUSED],
        )
        for (ecosystem, agent), fates in counts.items()
    ]
    rollup_writer.add(cursor, arrivals)
