"""The ledger: the only code that writes `trading_signals`."""

from aggregator.ledger.record import (
    AS_JSON,
    ENTER,
    RECORDED_AT,
    Batch,
    Validated,
    bury,
    count_rest,
    record,
    validate,
    write,
)

__all__ = [
    "AS_JSON",
    "ENTER",
    "RECORDED_AT",
    "Batch",
    "Validated",
    "bury",
    "count_rest",
    "record",
    "validate",
    "write",
]
