"""The proof that a signal is in the log, for those who may see the signal."""

import msgspec
from django.db import connection

from aggregator.transparency import log_tables, merkle
from aggregator.transparency.leaves import commitment, recorded_signals


class Proof(msgspec.Struct, frozen=True):
    """All that `examples/verify_record.py proof` needs; bytes become base64."""

    index: int
    leaf_data: str
    content: str
    nonce: bytes
    size: int
    proof: list[bytes]
    checkpoint: str

    @property
    def is_kept(self) -> bool:
        """Whether the ledger's row is still what the leaf commits to."""
        committed = msgspec.json.decode(self.leaf_data)["commitment"]
        return bool(commitment(self.nonce, self.content.encode()).hex() == committed)


def signal_proof(position: int) -> Proof | None:
    """Return the proof of a recorded signal; None without a log, or before a checkpoint covers it."""
    at = {"position": position}
    with connection.cursor() as cursor:
        head = log_tables.head()
        leaves = log_tables.leaves(cursor, "position = %(position)s AND event IS NULL", at)
        signals = recorded_signals(cursor, "position = %(position)s", at)
        if head is None or not leaves or not signals or leaves[0].index >= head.checkpoint_size:
            return None
        [leaf], [signal], size = leaves, signals, head.checkpoint_size
        hashes = log_tables.read_hashes(cursor, merkle.inclusion_ranges(leaf.index, size))
    content = signal.content.decode()
    return Proof(leaf.index, leaf.data.decode(), content, leaf.nonce, size, hashes, head.checkpoint)
