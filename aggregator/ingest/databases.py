"""Ingest from databases: rows that agents inserted, here and in the ecosystems' own databases."""

from django.db import DEFAULT_DB_ALIAS, close_old_connections, connections

from aggregator.ledger import inserted_rows
from aggregator.worker import Loop

MAX_ROWS = 1000


class DatabaseConsumer(Loop):
    """Records the rows of one database."""

    idle_interval_s = 0.25
    """What a database's signals wait at most while nothing else is new."""

    def __init__(self, alias: str) -> None:
        self.alias = alias

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - the consumers' protocol; there is nothing to wait for
        """Record one batch; return how many rows have a final result.

        Raises Outage; the rows stay where they are.
        """
        close_old_connections()
        if self.alias == DEFAULT_DB_ALIAS:
            results = inserted_rows.record_inserted_rows(MAX_ROWS)
        elif inserted_rows.is_core_database(self.alias):
            return 0
        else:
            results = inserted_rows.record_rows_of(self.alias, MAX_ROWS)
        return sum(result.is_final for result in results)

    def close(self) -> None:
        """Close the thread's connections."""
        connections.close_all()


def database_consumers() -> list[DatabaseConsumer]:
    """Return a consumer for the core database and for each that an ecosystem has of its own."""
    return [DatabaseConsumer(alias) for alias in connections]
