"""Signals as CSV and JSON lines, as long as they may be, in little memory."""

import csv
import io
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from aggregator.finding import Search
from aggregator.models import TradingSignal

BATCH = 1000

FIELDS = (
    "position",
    "signal_id",
    "ecosystem",
    "timestamp",
    "received_at",
    "symbol",
    "instrument",
    "action",
    "signal_type",
    "entry_price",
    "stop_loss",
    "take_profit",
    "volume",
    "confidence",
    "agent_source",
    "transport",
    "tags",
    "raw_payload",
)

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula (https://owasp.org/www-community/attacks/CSV_Injection)."""


def csv_lines(search: Search) -> Iterator[str]:
    """Yield the lines of a CSV file, header first; a text that a spreadsheet would run gets a quote mark."""
    yield _csv([list(FIELDS)])
    for rows in search.all(BATCH):
        yield _csv([[_cell(getattr(row, name)) for name in FIELDS] for row in rows])


def json_lines(search: Search) -> Iterator[str]:
    """Yield a JSON object a line; prices are texts, so that no reader rounds them."""
    for rows in search.all(BATCH):
        yield "".join(msgspec.json.encode(_object(row)).decode() + "\n" for row in rows)


FORMATS: dict[str, tuple[str, Callable[[Search], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", csv_lines),
    "jsonl": ("application/x-ndjson", json_lines),
}


def _object(row: TradingSignal) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FIELDS}


def _csv(rows: list[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return f"'{value}" if value.startswith(FORMULA) else value
    if isinstance(value, (list, dict)):
        return msgspec.json.encode(value).decode()
    return value.isoformat() if hasattr(value, "isoformat") else value
