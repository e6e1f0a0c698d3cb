"""Rollups of what came in, and the questions that a dashboard asks of them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from aggregator.verdicts import Fate, Verdict

MINUTES = """
    INSERT INTO arrival_minutes AS rollup
        (minute, ecosystem, agent_source, transport, accepted, duplicates, conflicts, refused)
    SELECT date_trunc('minute', now()), ecosystem, agent_source, %s, accepted, duplicates, conflicts, refused
    FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[])
        AS batch (ecosystem, agent_source, accepted, duplicates, conflicts, refused)
    ORDER BY ecosystem, agent_source
    ON CONFLICT (minute, ecosystem, agent_source, transport) DO UPDATE SET
        accepted = rollup.accepted + excluded.accepted, duplicates = rollup.duplicates + excluded.duplicates,
        conflicts = rollup.conflicts + excluded.conflicts, refused = rollup.refused + excluded.refused"""

AGENTS = """
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, now(), now(), %s, accepted
    FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS batch (ecosystem, agent_source, accepted)
    WHERE ecosystem <> ''
    ORDER BY ecosystem, agent_source
    ON CONFLICT (ecosystem, agent_source) DO UPDATE SET last_seen = excluded.last_seen,
        last_transport = excluded.last_transport, signals = agents.signals + excluded.signals"""

COUNTED = (Fate.ACCEPTED, Fate.DUPLICATE, Fate.CONFLICT, Fate.REFUSED)


def roll_up(cursor: Any, verdicts: Iterable[Verdict], transport: str) -> None:
    """Count a batch by agent, in two queries of the caller's transaction, rows sorted by key."""
    counts: Counter[tuple[str, str, Fate]] = Counter()
    for verdict in verdicts:
        subject = verdict.signal or verdict.refusal
        if subject and verdict.settled:
            counts[subject.ecosystem, subject.agent_source, verdict.fate] += 1
    agents = sorted({key[:2] for key in counts})
    if not agents:
        return
    columns: list[Sequence[Any]] = [
        [ecosystem for ecosystem, _ in agents],
        [agent for _, agent in agents],
        *([counts[(*agent, fate)] for agent in agents] for fate in COUNTED),
    ]
    cursor.execute(MINUTES, [transport, *columns])
    cursor.execute(AGENTS, [transport, *columns[:3]])
