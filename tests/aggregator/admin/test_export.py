"""Exports of what the list selects."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pytest

from aggregator.admin import export
from aggregator.models import TradingSignal
from tests.aggregator.conftest import signal

LIST = "/admin/aggregator/tradingsignal/"
EXPORT = LIST + "export."


def body(response):
    assert response.status_code == 200
    assert response.streaming
    return b"".join(response.streaming_content).decode()


def test_csv_holds_every_selected_signal_over_many_batches(page, record, monkeypatch):
    monkeypatch.setattr(export, "EXPORT_BATCH", 7)
    record(*({"signal_id": f"c{n}"} for n in range(40)), {"ecosystem": "stock", "symbol": "AAPL"})
    rows = list(csv.DictReader(io.StringIO(body(page.get(EXPORT + "csv?ecosystem=crypto")))))
    assert [row["signal_id"] for row in rows] == [f"c{n}" for n in reversed(range(40))]
    assert rows[0]["instrument"] == "BTC/USDT"


def test_json_lines_keep_prices_exact(page, record):
    price = f"123456789.{'1' * 40}"
    fields = {"entry_price": price, "stop_loss": "1.1610000500000001e-05", "refers_to": "y"}
    record({"signal_id": "x", "tags": ["a"], "raw_payload": {"k": [1, None]}} | fields, sender="key:desk")
    [line] = body(page.get(EXPORT + "jsonl")).splitlines()
    exported = json.loads(line)
    [row] = csv.DictReader(io.StringIO(body(page.get(EXPORT + "csv"))))
    for found in (exported, row):
        assert (found["entry_price"], found["stop_loss"]) == (price, "0.000011610000500000001")
        assert (found["refers_to"], found["sender"]) == ("y", "key:desk")
    assert price in page.get(LIST).content.decode()
    assert (exported["tags"], exported["raw_payload"]) == (["a"], {"k": [1, None]})
    assert exported["position"] == TradingSignal.objects.get().position


def test_numbers_in_a_payload_are_not_rounded(page, record):
    payload = '{"far": 1e400, "fine": 0.1234567890123456789}'
    record(signal(signal_id="x", raw_payload="?").replace(b'"?"', payload.encode()))
    exact = {"far": Decimal("1e400"), "fine": Decimal("0.1234567890123456789")}
    [row] = csv.DictReader(io.StringIO(body(page.get(EXPORT + "csv"))))
    assert json.loads(row["raw_payload"], parse_float=Decimal, parse_int=Decimal) == exact
    exported = json.loads(body(page.get(EXPORT + "jsonl")), parse_float=Decimal, parse_int=Decimal)
    assert exported["raw_payload"] == exact
    seen = page.get(f"{LIST}{TradingSignal.objects.get().pk}/change/").content.decode()
    assert "0.1234567890123456789" in seen


def test_searches_are_exported_too(page, record):
    record({"signal_id": "c"}, {"signal_id": "s", "ecosystem": "stock", "symbol": "AAPL"})
    assert [
        json.loads(line)["signal_id"] for line in body(page.get(EXPORT + "jsonl?q=AAPL")).splitlines()
    ] == ["s"]


def test_a_spreadsheet_runs_no_formula(page, record):
    record({"signal_id": "=1+1", "agent_source": "@SUM(A1)", "symbol": "-BTC"})
    [row] = csv.DictReader(io.StringIO(body(page.get(EXPORT + "csv"))))
    assert (row["signal_id"], row["agent_source"], row["symbol"]) == ("'=1+1", "'@SUM(A1)", "'-BTC")


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("  =1+1", "  '=1+1"),
        ("x;=1+1", "x;'=1+1"),
        ("x; @SUM(A1)", "x; '@SUM(A1)"),
        ("＝1+1", "'＝1+1"),  # noqa: RUF001
        ("a=b, c-d", "a=b, c-d"),
    ],
)
def test_nor_one_behind_spaces_or_behind_the_separator_of_another_locale(page, record, written, shown):
    record({"signal_id": "a", "agent_source": written})
    text = body(page.get(EXPORT + "csv"))
    assert text.splitlines()[1].startswith('"')
    [row] = csv.DictReader(io.StringIO(text))
    assert row["agent_source"] == shown


@pytest.mark.parametrize("query", ["nonsense=1", "position__gt=x", "id__in=a"])
def test_an_unknown_filter_is_refused(page, query):
    assert page.get(f"{EXPORT}csv?{query}").status_code == 400


def test_files_are_for_who_may_see_signals(page, stranger, client):
    assert page.get(EXPORT + "xml").status_code == 404
    assert stranger.get(EXPORT + "csv").status_code == 403
    assert client.get(EXPORT + "csv", headers={"host": "localhost"}).status_code == 302
