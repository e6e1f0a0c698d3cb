"""One log event a batch: how many entries met which fate, and the first ids. Never a body."""

from collections import Counter
from collections.abc import Sequence

import structlog

from aggregator.ledger.entries import Fate, Result

logger = structlog.get_logger("signal_hub.ledger")

MAX_LOGGED_IDS = 5
"""Ids in one event: a batch has up to thousands. The ledger has the rest, by time."""


def log_batch(results: Sequence[Result], transport: str) -> None:
    """Log a batch that is committed."""
    if not results:
        return
    counts = Counter(result.fate for result in results)
    subjects = [subject for each in results[:MAX_LOGGED_IDS] if (subject := each.signal or each.refusal)]
    logger.info(
        "batch recorded",
        transport=transport,
        entries=len(results),
        **{fate.value: counts[fate] for fate in Fate if counts[fate]},
        ids=",".join(f"{each.ecosystem}/{each.signal_id}" for each in subjects if each.signal_id),
    )
