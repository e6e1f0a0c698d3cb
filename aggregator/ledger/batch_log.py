"""One log event a batch: how many came to which end, and the first ids. Never a body."""

from collections import Counter
from collections.abc import Sequence

import structlog

from aggregator.ledger.entries import Fate, Verdict

logger = structlog.get_logger("signal_hub.ledger")

MOST_IDS = 5
"""Ids in one event: a batch has up to thousands. The rest is in the ledger, by time."""


def recorded(verdicts: Sequence[Verdict], transport: str) -> None:
    """Log a batch that is committed."""
    if not verdicts:
        return
    counts = Counter(verdict.fate for verdict in verdicts)
    subjects = [subject for each in verdicts[:MOST_IDS] if (subject := each.signal or each.refusal)]
    logger.info(
        "batch recorded",
        transport=transport,
        entries=len(verdicts),
        **{fate.value: counts[fate] for fate in Fate if counts[fate]},
        ids=",".join(f"{each.ecosystem}/{each.signal_id}" for each in subjects if each.signal_id),
    )
