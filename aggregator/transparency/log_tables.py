"""The log's tables: its head, leaves and tiles. All functions work in the caller's transaction."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from aggregator.models import TransparencyLog
from aggregator.transparency import merkle, tiles
from aggregator.transparency.leaves import (
    NONCE_BYTES,
    SALT_BYTES,
    Recorded,
    commitment,
    recorded_events,
    recorded_signals,
    to_microseconds,
)
from aggregator.transparency.merkle import Range
from aggregator.transparency.tiles import Tile

BEGIN_LOG = """
    INSERT INTO transparency_log (id, origin, size, checkpoint, checkpoint_size, checkpoint_at, position,
        verifier_keys, problem, problem_detail)
    VALUES (1, %(origin)s, 0, %(checkpoint)s, 0, now(), 0, %(verifier_keys)s, '', '')
    ON CONFLICT (id) DO UPDATE SET origin = excluded.origin, checkpoint = excluded.checkpoint,
        checkpoint_size = transparency_log.size, checkpoint_at = now(),
        verifier_keys = excluded.verifier_keys, problem = '', problem_detail = ''"""

EMPTY_LOG = """
    DELETE FROM log_leaves;
    DELETE FROM log_tiles;
    DELETE FROM followers WHERE name = %(follower)s"""
"""Delete what a log without a head may have left, so that the first leaf is that of the first signal."""

PUBLISH_CHECKPOINT = """
    UPDATE transparency_log SET checkpoint = %(checkpoint)s, checkpoint_size = size, checkpoint_at = now(),
        verifier_keys = %(verifier_keys)s,
        position = coalesce((SELECT position FROM followers WHERE name = %(follower)s), 0)"""

_WAITING = """
    SELECT clock_timestamp() - (
        SELECT recorded_at FROM trading_signals
        WHERE trading_signals.position > transparency_log.position ORDER BY position LIMIT 1)
    FROM transparency_log"""

BEHIND_LAST_EVENT = "event.id > (SELECT coalesce(max(event), 0) FROM log_leaves)"
"""The condition for outcome events that are no leaves yet."""

_TILES = """
    SELECT level, index, hashes FROM log_tiles
    JOIN unnest(%(levels)s::smallint[], %(indexes)s::bigint[]) AS wanted (level, index)
        USING (level, index)"""

_WRITE_TILES = """
    INSERT INTO log_tiles (level, index, hashes)
    SELECT * FROM unnest(%(levels)s::smallint[], %(indexes)s::bigint[], %(hashes)s::bytea[])
    ON CONFLICT (level, index) DO UPDATE SET hashes = excluded.hashes"""

_AGENT_HASH = "sha256(salt || convert_to(ecosystem || '/' || agent_source, 'UTF8'))"

_ADD_AGENTS = """
    INSERT INTO log_agents (ecosystem, agent_source, salt)
    SELECT * FROM unnest(%(ecosystems)s::text[], %(names)s::text[], %(salts)s::bytea[])
    ON CONFLICT (ecosystem, agent_source) DO NOTHING"""

_AGENTS = f"""
    SELECT ecosystem, agent_source, id, {_AGENT_HASH} FROM log_agents
    JOIN unnest(%(ecosystems)s::text[], %(names)s::text[]) AS wanted (ecosystem, agent_source)
        USING (ecosystem, agent_source)"""

_COPY_LEAVES = """
    COPY log_leaves (index, agent_id, position, event, recorded_at, nonce, commitment) FROM STDIN"""

_LEAVES = f"""
    SELECT index, {_AGENT_HASH}, position, event, {to_microseconds("recorded_at")}, nonce, commitment
    FROM log_leaves JOIN log_agents ON log_agents.id = agent_id"""


@dataclass(frozen=True, slots=True)
class StoredLeaf:
    """A leaf of the table."""

    index: int
    agent: bytes
    position: int
    event: int | None
    recorded_at: str
    nonce: bytes
    commitment: bytes

    @property
    def data(self) -> bytes:
        """What is hashed into the tree, and published: canonical JSON, since no value needs an escape."""
        kind = "signal" if self.event is None else "outcome"
        return (
            f'{{"agent":"{self.agent.hex()}","commitment":"{self.commitment.hex()}","kind":"{kind}",'
            f'"position":{self.position},"recorded_at":"{self.recorded_at}","v":1}}'
        ).encode()


def head(*, lock: bool = False) -> TransparencyLog | None:
    """Return the log's one row, None where no log is kept; locked for the transaction if asked for."""
    rows = TransparencyLog.objects.all()
    return (rows.select_for_update() if lock else rows).first()


def waiting(cursor: Any) -> timedelta:
    """Return for how long the oldest signal that no checkpoint covers has been on record; zero for none."""
    cursor.execute(_WAITING)
    row = cursor.fetchone()
    return row[0] or timedelta() if row else timedelta()


def read_tiles(cursor: Any, wanted: Iterable[Tile]) -> dict[Tile, bytes]:
    """Return those of the tiles that exist, as far as they are filled."""
    chosen = list(wanted)
    levels, indexes = [tile.level for tile in chosen], [tile.number for tile in chosen]
    cursor.execute(_TILES, {"levels": levels, "indexes": indexes})
    return {Tile(level, index): bytes(hashes) for level, index, hashes in cursor.fetchall()}


def read_hashes(cursor: Any, spans: Sequence[Range]) -> list[bytes]:
    """Return the hashes of nodes of the tree. Raises KeyError or IndexError where tiles are missing."""
    return tiles.node_hashes(read_tiles(cursor, tiles.tiles_of(spans)), spans)


def append_leaves(cursor: Any, size: int, rows: Sequence[Recorded]) -> None:
    """Append a leaf for each row to a tree of `size`. The caller has locked the head."""
    agents = _agents(cursor, {(row.ecosystem, row.agent_source) for row in rows})
    lines, hashes = [], []
    for index, row in enumerate(rows, size):
        number, agent = agents[row.ecosystem, row.agent_source]
        nonce = os.urandom(NONCE_BYTES)
        committed = commitment(nonce, row.content)
        leaf = StoredLeaf(index, agent, row.position, row.event, row.recorded_at, nonce, committed)
        hashes.append(merkle.leaf_hash(leaf.data))
        event = r"\N" if leaf.event is None else leaf.event
        lines.append(
            f"{index}\t{number}\t{leaf.position}\t{event}\t{leaf.recorded_at}"
            f"\t\\\\x{leaf.nonce.hex()}\t\\\\x{leaf.commitment.hex()}\n"
        )
    with cursor.copy(_COPY_LEAVES) as stream:
        stream.write("".join(lines))
    _write_tiles(cursor, tiles.append(read_tiles(cursor, tiles.edge(size)), size, hashes))
    TransparencyLog.objects.update(size=size + len(rows))


def leaves(
    cursor: Any, condition: str, parameters: Mapping[str, Any], limit: int | None = None
) -> list[StoredLeaf]:
    """Return the leaves for which a condition holds, in order; the first `limit` of them."""
    bounds = {**parameters, "limit": limit}
    cursor.execute(f"{_LEAVES} WHERE {condition} ORDER BY index LIMIT %(limit)s", bounds)
    return [
        StoredLeaf(index, bytes(agent), position, event, recorded_at, bytes(nonce), bytes(commitment))
        for index, agent, position, event, recorded_at, nonce, commitment in cursor.fetchall()
    ]


def rows_of(cursor: Any, of: Collection[StoredLeaf]) -> dict[tuple[int, int | None], Recorded]:
    """Return the signals and outcome events of leaves, as they are now, by position and event."""
    positions = [leaf.position for leaf in of if leaf.event is None]
    events = [leaf.event for leaf in of if leaf.event is not None]
    at = {"positions": positions, "events": events, "limit": len(events)}
    signals = recorded_signals(cursor, "position = ANY (%(positions)s)", at)
    outcomes = recorded_events(cursor, "event.id = ANY (%(events)s)", at)
    return {(row.position, row.event): row for row in [*signals, *outcomes]}


def _agents(cursor: Any, names: set[tuple[str, str]]) -> dict[tuple[str, str], tuple[int, bytes]]:
    """Return each agent's row and hash; agents that are new get a salt."""
    ordered = sorted(names)
    parameters = {
        "ecosystems": [ecosystem for ecosystem, _ in ordered],
        "names": [name for _, name in ordered],
    }
    cursor.execute(_AGENTS, parameters)
    if cursor.rowcount < len(names):
        salts = [os.urandom(SALT_BYTES) for _ in ordered]
        cursor.execute(_ADD_AGENTS, parameters | {"salts": salts})
        cursor.execute(_AGENTS, parameters)
    return {(ecosystem, name): (number, bytes(agent)) for ecosystem, name, number, agent in cursor}


def _write_tiles(cursor: Any, changed: Mapping[Tile, bytes]) -> None:
    parameters = {
        "levels": [tile.level for tile in changed],
        "indexes": [tile.number for tile in changed],
        "hashes": list(changed.values()),
    }
    cursor.execute(_WRITE_TILES, parameters)
