"""The sequences of the ledger: those that positions and ids come from.

A restore of data alone, or a failover of logical replication, leaves a sequence behind the rows. For
positions that does no harm, since `functions` draws them above the greatest on record; an id that is drawn
twice makes an INSERT fail, or do nothing where an agent asked for that.
"""

from django.db import DEFAULT_DB_ALIAS, connections

ID_SEQUENCE = "trading_signals_id_seq"
_SEQUENCES = {"trading_signals_position_seq": "position", ID_SEQUENCE: "id"}

_BEHIND = " UNION ALL ".join(
    f"""
    SELECT '{sequence}', max({column}) FROM trading_signals
    HAVING max({column}) > (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM {sequence})"""
    for sequence, column in _SEQUENCES.items()
)


def sequences_behind(using: str = DEFAULT_DB_ALIAS) -> dict[str, int]:
    """Return a database's sequences that are behind its rows, with the value that each should have."""
    with connections[using].cursor() as cursor:
        cursor.execute(_BEHIND)
        return dict(cursor.fetchall())


def repair_sequences(using: str = DEFAULT_DB_ALIAS) -> None:
    """Set a database's sequences that are behind its rows to where these are."""
    behind = sequences_behind(using)
    with connections[using].cursor() as cursor:
        for sequence, value in behind.items():
            cursor.execute("SELECT setval(%s, %s)", [sequence, value])
