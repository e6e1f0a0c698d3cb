"""The check of the ledger's positions."""

from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck, database_required
from aggregator.ledger import positions


class LedgerCheck(DatabaseDependentCheck):
    """Positions and ids are drawn above those on record."""

    def __init__(self) -> None:
        super().__init__("ledger")

    def run(self) -> None:
        with database_required():
            behind = positions.sequences_behind()
        if not behind:
            return
        detail = f"{', '.join(behind)} behind the rows, as after a restore of data alone"
        if positions.ID_SEQUENCE in behind:
            raise Failed("a sequence is behind", f"{detail}; rows that agents insert get ids that exist")
        raise Degraded("a sequence is behind", f"{detail}; the next signal sets it right")
