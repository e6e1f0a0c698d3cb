"""Counting entries that were not recorded; what is recorded, a follower counts.

What is refused, or in conflict, counts for its sender alone: it neither keeps the agent alive that it names,
nor raises alerts about it.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from aggregator.ledger import rollup_writer
from aggregator.ledger.entries import Entry, Fate, Result
from aggregator.ledger.new_names import Name, beyond_limits
from aggregator.ledger.rollup_writer import OTHER, REFUSED, Arrivals, Sent


def count_unrecorded(
    cursor: Any, entries: Sequence[Entry], results: Sequence[Result], transport: str
) -> None:
    """Add duplicates, conflicts and refusals to the rollups, in two queries of the caller's transaction."""
    names = [
        (_agent(entry, result), result.fate)
        for entry, result in zip(entries, results, strict=True)
        if result.is_final and result.fate is not Fate.ACCEPTED
    ]
    if not names:
        return
    beyond, new = beyond_limits(cursor, [name for name, _ in names if name.name != REFUSED])
    agents: dict[tuple[str, str], Counter[Fate]] = {}
    senders: dict[str, Counter[Fate]] = {}
    for (kind, sender, ecosystem, agent), fate in names:
        name = OTHER if (kind, ecosystem, agent) in beyond else agent
        agents.setdefault((ecosystem, name), Counter())[fate] += 1
        senders.setdefault(sender, Counter())[fate] += 1
    arrivals = [
        Arrivals(
            *agent,
            transport,
            duplicates=fates[Fate.DUPLICATE],
            conflicts=fates[Fate.CONFLICT],
            refused=fates[Fate.REFUSED],
        )
        for agent, fates in agents.items()
    ]
    sent = [
        Sent(sender, 0, fates[Fate.DUPLICATE], fates[Fate.CONFLICT], fates[Fate.REFUSED], new[sender])
        for sender, fates in senders.items()
    ]
    rollup_writer.add(cursor, rollup_writer.ADD_UNRECORDED, arrivals, sent)


def _agent(entry: Entry, result: Result) -> Name:
    """Return what an entry counts under: its agent where that has sent the very same before."""
    if result.fate is Fate.DUPLICATE and result.signal:
        return Name("agent", entry.sender, result.signal.ecosystem, result.signal.agent_source)
    ecosystem = result.refusal.ecosystem if result.refusal else ""
    may_write = entry.ecosystems is None or ecosystem in entry.ecosystems
    return Name("agent", entry.sender, ecosystem if may_write else "", REFUSED)
