"""Exports of signals as CSV and JSON lines, in bounded memory."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.db.models import F, TextField
from django.db.models.functions import Cast

from aggregator.ledger.pager import Search
from aggregator.models import TradingSignal
from ecosystems.signal import decimal_text

EXPORT_BATCH = 500
"""Rows in memory at a time; each may have 64 KiB of payload."""

FIELDS = (
    "position",
    "signal_id",
    "ecosystem",
    "timestamp",
    "received_at",
    "symbol",
    "instrument",
    "action",
    "refers_to",
    "signal_type",
    "entry_price",
    "stop_loss",
    "take_profit",
    "volume",
    "confidence",
    "agent_source",
    "transport",
    "sender",
    "tags",
    "raw_payload",
)

FORMULA = re.compile(r"((?:^|[;\r\n])\s*)(?=[=+\-@\t＝＋－＠])")  # noqa: RUF001 - spreadsheets know the wide ones
"""Where a spreadsheet takes what follows for a formula (https://owasp.org/www-community/attacks/CSV_Injection).

One whose locale separates by semicolons begins a cell behind each, and a row behind each line break.
"""

# JSON comes as Postgres writes it: read into Python and written again, a long number in it would be rounded.
AS_TEXT = {"tags": Cast("tags", TextField()), "raw_payload": Cast("raw_payload", TextField())}


def csv_lines(search: Search) -> Iterator[str]:
    """Yield the lines of a CSV file, header first; a text that a spreadsheet would run gets a quote mark."""
    yield _csv([FIELDS])
    for rows in _batches(search):
        yield _csv([map(_cell, row) for row in rows])


def json_lines(search: Search) -> Iterator[str]:
    """Yield a JSON object a line; prices are texts, so that no reader rounds them."""
    for rows in _batches(search):
        yield "".join(msgspec.json.encode(_object(row)).decode() + "\n" for row in rows)


FORMATS: dict[str, tuple[str, Callable[[Search], Iterator[str]]]] = {
    "csv": ("text/csv; charset=utf-8", csv_lines),
    "jsonl": ("application/x-ndjson", json_lines),
}


def _batches(search: Search) -> Iterator[list[tuple[Any, ...]]]:
    """Yield rows of FIELDS, JSON in them as text."""
    columns = [AS_TEXT.get(name, F(name)) for name in FIELDS]
    return replace(search, read=TradingSignal.objects.values_list(*columns)).all(EXPORT_BATCH)


def _object(row: tuple[Any, ...]) -> dict[str, Any]:
    found = dict(zip(FIELDS, row, strict=True))
    prices = {name: decimal_text(value) for name, value in found.items() if isinstance(value, Decimal)}
    return found | prices | {name: msgspec.Raw(found[name].encode()) for name in AS_TEXT}


def _csv(rows: Iterable[Iterable[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, str):
        return FORMULA.sub(r"\1'", value)
    if isinstance(value, Decimal):
        return decimal_text(value)
    return value.isoformat() if isinstance(value, datetime) else value
