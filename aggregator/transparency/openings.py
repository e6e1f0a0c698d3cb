"""An agent's record with proofs: every leaf of the agent with what opens it, as CSV.

It discloses the agent's salt, so that anybody can count the agent's leaves and see that none is left out.
"""

import base64
import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any

from django.db import connection

from aggregator.transparency import log_tables
from aggregator.transparency.leaves import Recorded
from aggregator.transparency.log_tables import StoredLeaf

OPENING_FIELDS = ("index", "kind", "position", "recorded_at", "agent", "salt", "nonce", "content")
_BATCH = 1000
"""Leaves in memory at a time; each may have 64 KiB of payload."""

_AGENT = """
    SELECT id, salt FROM log_agents
    WHERE ecosystem = %(ecosystem)s AND agent_source = %(agent_source)s"""

_COVERED = """
    agent_id = %(agent)s AND index > %(after)s
    AND index < (SELECT checkpoint_size FROM transparency_log)"""


def opening_lines(ecosystem: str, agent_source: str) -> Iterator[str]:
    """Yield the lines of the CSV, header first: the agent's leaves that the last checkpoint covers.

    A leaf whose row is not there any more has no line, which the verifier finds.
    """
    yield _csv([OPENING_FIELDS])
    with connection.cursor() as cursor:
        cursor.execute(_AGENT, {"ecosystem": ecosystem, "agent_source": agent_source})
        agent, salt = cursor.fetchone() or (None, b"")
        bounds = {"agent": agent, "after": -1}
        while leaves := log_tables.leaves(cursor, _COVERED, bounds, limit=_BATCH):
            bounds["after"] = leaves[-1].index
            rows = log_tables.rows_of(cursor, leaves)
            lines = ((leaf, rows.get((leaf.position, leaf.event))) for leaf in leaves)
            yield _csv(_line(leaf, row, bytes(salt)) for leaf, row in lines if row)


def _line(leaf: StoredLeaf, row: Recorded, salt: bytes) -> tuple[Any, ...]:
    opens = [base64.b64encode(each).decode() for each in (salt, leaf.nonce)]
    agent = f"{row.ecosystem}/{row.agent_source}"
    return leaf.index, leaf.kind, leaf.position, leaf.recorded_at, agent, *opens, row.content.decode()


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()
