"""The check of the ledger's positions."""

from aggregator import followers
from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ledger import generations, positions

REMEDY = "run manage.py new_generation (docs/operations.md)"


class LedgerCheck(DatabaseDependentCheck):
    """The ledger has not gone back, and positions and ids are drawn above those on record."""

    def __init__(self) -> None:
        super().__init__("ledger")

    def run(self) -> None:
        generation = generations.current_generation()
        lost = generations.went_back(generation)
        ahead = followers.ahead(generations.ledger_head())
        is_elsewhere = generations.is_elsewhere(generation)
        behind = positions.sequences_behind()
        if lost:
            raise Failed("went back", f"the signal at position {lost.position} is not on record; {REMEDY}")
        if ahead:
            raise Failed("went back", f"followers have passed its end: {', '.join(ahead)}; {REMEDY}")
        _check_sequences(behind)
        if is_elsewhere:
            detail = "signals may be missing that readers have seen"
            raise Degraded("restored or promoted", f"{detail}; {REMEDY}")


def _check_sequences(behind: dict[str, int]) -> None:
    if not behind:
        return
    detail = f"{', '.join(behind)} behind the rows, as after a restore of data alone"
    if positions.ID_SEQUENCE in behind:
        raise Failed("a sequence is behind", f"{detail}; rows that agents insert get ids that exist")
    raise Degraded("a sequence is behind", f"{detail}; the next signal sets it right")
