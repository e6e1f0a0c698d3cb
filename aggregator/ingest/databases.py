"""Ingest from databases: rows that agents inserted, here and in the ecosystems' own databases."""

import time

from django.db import DEFAULT_DB_ALIAS

from aggregator.ledger import inserted_rows, positions
from aggregator.ledger.errors import classified
from aggregator.postgres.pool import serve_signals
from aggregator.worker import Loop

MAX_ROWS = 1000
REPAIR_INTERVAL_S = 5.0
"""How often to look whether agents' rows would get ids that exist: Postgres refuses those, or drops them in
silence where the INSERT says ON CONFLICT DO NOTHING."""


class DatabaseConsumer(Loop):
    """Records the rows of one database."""

    idle_interval_s = 0.25
    """What a database's signals wait at most while nothing else is new."""

    def __init__(self, alias: str) -> None:
        serve_signals()
        self.alias = alias
        self._repair_at = 0.0

    def run_once(self, *, wait: bool = False) -> int:  # noqa: ARG002 - the consumers' protocol; there is nothing to wait for
        """Record one batch; return how many rows have a final result.

        Raises Outage; the rows stay where they are.
        """
        if time.monotonic() >= self._repair_at:
            with classified():
                positions.repair_sequences(self.alias)
            self._repair_at = time.monotonic() + REPAIR_INTERVAL_S
        if self.alias == DEFAULT_DB_ALIAS:
            results = inserted_rows.record_inserted_rows(MAX_ROWS)
        elif inserted_rows.is_core_database(self.alias):
            return 0
        else:
            results = inserted_rows.record_rows_of(self.alias, MAX_ROWS)
        # After the others: what they are compared with is then on record, as far as it can be.
        results += inserted_rows.record_repeated_rows(self.alias, MAX_ROWS)
        return sum(result.is_final for result in results)
