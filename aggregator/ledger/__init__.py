"""The ledger: the only code that writes `trading_signals`."""

from aggregator.ledger.record import (
    AS_JSON,
    ENTER,
    RECORDED_AT,
    Batch,
    Judged,
    bury,
    count_rest,
    judge,
    record,
    write,
)

__all__ = [
    "AS_JSON",
    "ENTER",
    "RECORDED_AT",
    "Batch",
    "Judged",
    "bury",
    "count_rest",
    "judge",
    "record",
    "write",
]
