"""Verifying the log against the tables: everything is computed anew from the ledger's rows."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from django.db import connection, transaction

from aggregator.ledger.errors import classified
from aggregator.models import LogAnchor, TransparencyLog
from aggregator.transparency import log_tables, merkle, tiles
from aggregator.transparency.leaves import Recorded, commitment
from aggregator.transparency.log_directory import CannotSeal, LogDirectory
from aggregator.transparency.log_tables import StoredLeaf
from aggregator.transparency.notes import Checkpoint, InvalidNote, Note, VerifierKey
from aggregator.transparency.tiles import Tile

BATCH = 256 * 20
"""Leaves that are read at once: whole tiles, so that each is compared once."""

WITHOUT_LEAF = {
    "the signal at position": """
        SELECT position FROM trading_signals AS signal
        WHERE position <= (SELECT position FROM followers WHERE name = 'transparency')
            AND NOT EXISTS (SELECT FROM log_leaves WHERE event IS NULL AND position = signal.position)
        ORDER BY position LIMIT 1""",
    "outcome event": """
        SELECT id FROM outcome_events
        WHERE id < (SELECT max(event) FROM log_leaves)
            AND NOT EXISTS (SELECT FROM log_leaves WHERE event = outcome_events.id)
        ORDER BY id LIMIT 1""",
}


class Difference(Exception):
    """Something is not what the log committed to; the text is one line that names it."""


def verify(directory: LogDirectory) -> int:
    """Return how many leaves were verified. Raises Difference, CannotSeal without a log, and Outage."""
    with classified(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        head = log_tables.head()
        if head is None:
            raise CannotSeal("no log is kept", "to keep one: manage.py transparency init")
        _Tree(cursor).require_whole(head.size)
        for what, query in WITHOUT_LEAF.items():
            cursor.execute(query)
            if missing := cursor.fetchone():
                raise Difference(f"{what} {missing[0]} has no leaf")
        _require_checkpoints(cursor, head, directory)
    return head.size


@dataclass
class _Tree:
    """The tree as it is computed anew, leaf by leaf, and compared with the tables."""

    cursor: Any
    edge: dict[Tile, bytes] = field(default_factory=dict)
    position: int = 0
    """Of the last signal."""

    def require_whole(self, size: int) -> None:
        """Raise Difference at the first leaf or tile that is not what the ledger's rows make it."""
        for start in range(0, size, BATCH):
            end = min(start + BATCH, size)
            hashes = [merkle.leaf_hash(leaf.data) for leaf in self._leaves(start, end)]
            changed = tiles.append(self.edge, start, hashes)
            self._require_tiles(changed)
            self.edge = {tile: changed.get(tile) or self.edge[tile] for tile in tiles.edge(end)}
        if log_tables.read_tiles(self.cursor, self.edge) != self.edge:
            raise Difference("the tree holds more hashes than there are leaves")

    def _leaves(self, start: int, end: int) -> Iterator[StoredLeaf]:
        bounds = {"start": start, "end": end}
        rows = log_tables.leaves(self.cursor, "index >= %(start)s AND index < %(end)s", bounds)
        found = {leaf.index: leaf for leaf in rows}
        recorded = log_tables.rows_of(self.cursor, found.values())
        for index in range(start, end):
            if index not in found:
                raise Difference(f"leaf {index} is missing")
            leaf = found[index]
            self._require_recorded(leaf, recorded.get((leaf.position, leaf.event)))
            yield leaf

    def _require_recorded(self, leaf: StoredLeaf, row: Recorded | None) -> None:
        """Raise Difference unless the row is what the leaf commits to."""
        if row is None:
            what = "the signal" if leaf.event is None else f"outcome event {leaf.event} of the call"
            raise Difference(f"leaf {leaf.index}: {what} at position {leaf.position} is missing")
        if commitment(leaf.nonce, row.content) != leaf.commitment:
            raise Difference(f"leaf {leaf.index}: {row.name} is not what was recorded")
        if row.recorded_at != leaf.recorded_at:
            raise Difference(f"leaf {leaf.index}: {row.name} has another time of recording")
        if leaf.event is None and leaf.position <= self.position:
            raise Difference(f"leaf {leaf.index}: {row.name} is not in the order of positions")
        if leaf.event is None:
            self.position = leaf.position

    def _require_tiles(self, changed: dict[Tile, bytes]) -> None:
        stored = log_tables.read_tiles(self.cursor, changed)
        for tile, computed in sorted(changed.items()):
            held = stored.get(tile, b"")
            if held.startswith(computed):
                continue
            if tile.level == 0:
                index = tile.number * tiles.WIDTH + _first_difference(held, computed)
                raise Difference(f"leaf {index} is not what the tree holds")
            raise Difference(f"tile {tiles.tile_path(*tile)} is not what the leaves below it hash to")


def _first_difference(held: bytes, computed: bytes) -> int:
    """Return which hash of two tiles is the first that differs."""
    size = merkle.HASH_BYTES
    ours = range(0, len(computed), size)
    differing = (at // size for at in ours if held[at : at + size] != computed[at : at + size])
    return next(differing, len(computed) // size)


def _require_checkpoints(cursor: Any, head: TransparencyLog, directory: LogDirectory) -> None:
    """Raise Difference unless the tree extends every checkpoint of this log that is known."""
    for note in LogAnchor.objects.order_by("size").values_list("checkpoint", flat=True):
        _require_extended(cursor, "an anchored checkpoint", head, note)
    _require_extended(cursor, "the published checkpoint", head, head.checkpoint, head.verifier_keys)
    copy = directory.copy()
    if copy is None:
        raise Difference("there is no copy of the last checkpoint")
    _require_extended(cursor, "the copy of the last checkpoint", head, copy)


def _require_extended(
    cursor: Any, what: str, head: TransparencyLog, text: str, keys: list[str] | None = None
) -> None:
    """Raise Difference unless the tree extends a checkpoint, which one of the keys, if given, has signed."""
    try:
        note = Note.parse(text)
        if keys is not None and not note.verified_by([VerifierKey.parse(key) for key in keys]):
            raise Difference(f"{what} is not signed by the log's key")
        checkpoint = Checkpoint.parse(note.text)
    except InvalidNote as error:
        raise Difference(f"{what}: {error}") from error
    if checkpoint.origin != head.origin:
        return  # of a log that was given up
    if checkpoint.size > head.size:
        raise Difference(f"{what} has {checkpoint.size} leaves, the tables {head.size}")
    if log_tables.read_hashes(cursor, [(0, checkpoint.size)]) != [checkpoint.root]:
        raise Difference(f"the tree of {checkpoint.size} leaves has another root than {what}")
