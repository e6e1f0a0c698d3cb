"""Symbols without a certain instrument: listed, mapped, their signals updated."""

from __future__ import annotations

import re

import pytest
from django.db import connection, connections

from aggregator.ledger import aliases, inserted_rows
from aggregator.models import SymbolAlias, TradingSignal

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])
LIST = "/admin/aggregator/symbolalias/"


def names(symbol="tBTCUSD"):
    return set(TradingSignal.objects.filter(symbol=symbol).values_list("instrument", flat=True))


@pytest.fixture
def alias(record):
    record(*({"symbol": "tBTCUSD"} for _ in range(7)), {"symbol": "BTCUSD"})
    return SymbolAlias.objects.get()


def test_an_unmapped_symbol_is_shown_with_a_suggestion(page, alias):
    seen = page.get(LIST + "?mapped=no").content.decode()
    assert "tBTCUSD" in seen
    assert "Map to BTC/USD</button>" in seen
    described = re.findall(r'aria-describedby="([^"]+)"', seen)
    assert all(f'id="{name}"' in seen for name in described)


def test_its_button_maps_it_and_updates_its_signals(page, alias, monkeypatch, record):
    monkeypatch.setattr(aliases, "RENAME_BATCH", 3)
    assert names() == {"tBTCUSD"}
    response = page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"}, follow=True)
    assert "7 signals updated to BTC/USD" in response.content.decode()
    assert names() == {"BTC/USD"}
    record({"symbol": "tBTCUSD"}, transport="redis")
    assert names() == {"BTC/USD"}


def test_another_name_is_typed_into_the_list(page, alias):
    form = {
        "form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": alias.pk,
        "form-0-instrument": "BTCUSDT", "_save": "Save",
    }  # fmt: skip
    page.post(LIST, form)
    assert names() == {"BTC/USDT"}, "as the hub writes it"
    page.post(LIST, form | {"form-0-instrument": ""})
    assert names() == {"tBTCUSD"}
    assert names("BTCUSD") == {"BTC/USD"}, "other symbols keep their names"


def test_a_symbol_can_be_mapped_before_it_comes(page, record):
    page.post(LIST + "add/", {"ecosystem": "forex", "symbol": "CABLE", "instrument": "GBPUSD"})
    record({"ecosystem": "forex", "symbol": "CABLE"})
    assert names("CABLE") == {"GBP/USD"}


def test_rows_that_agents_insert_get_the_name_too(page, alias):
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action) "
            "VALUES ('sql', 'crypto', now(), 'tBTCUSD', 'SELL')"
        )
    inserted_rows.record_inserted_rows(10)
    assert TradingSignal.objects.get(signal_id="sql").instrument == "BTC/USD"


def test_a_long_update_continues_in_steps(page, alias, monkeypatch):
    monkeypatch.setattr(aliases, "RENAME_BATCH", 2)
    monkeypatch.setattr("aggregator.admin.aliases.INLINE_TIMEOUT_S", 0.0)
    response = page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    path = response["Location"]
    assert "/update_signals/?" in path
    seen = " ".join(page.get(path).content.decode().split())
    assert "Set the instrument of all tBTCUSD signals to BTC/USD?" in seen
    updated = TradingSignal.objects.filter(instrument="BTC/USD", symbol="tBTCUSD").count()
    assert updated_in_steps(page, path) == 7 - updated
    assert names() == {"BTC/USD"}


def updated_in_steps(page, path):
    """Do what the page's script does; return how many signals that updated."""
    updated = 0
    cursor = re.search(r'data-cursor="([^"]+)"', page.get(path).content.decode())[1]
    while cursor:
        result = page.post(path, {"cursor": cursor}).json()
        assert result["results"] == {"updated": result["count"]}
        updated, cursor = updated + result["count"], result["cursor"]
    return updated


def test_a_wrong_mapping_is_corrected_later(page, alias, record):
    record({"symbol": "ETHUSD", "signal_id": "other"})
    positions = list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position"))
    page.post(f"{LIST}{alias.pk}/map", {"map": "ETH/USD"})
    assert names() == {"ETH/USD"}
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    assert names() == {"BTC/USD"}
    assert names("ETHUSD") == {"ETH/USD"}
    assert list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position")) == positions


def test_an_interrupted_update_is_done_again(page, alias):
    SymbolAlias.objects.update(instrument="BTC/USD")  # as if the worker had been killed then
    TradingSignal.objects.filter(pk__in=TradingSignal.objects.values("pk")[:2]).update(instrument="WRONG/USD")
    assert updated_in_steps(page, f"{LIST}{alias.pk}/update_signals/") >= 7
    assert names() == {"BTC/USD"}


def test_rows_in_an_ecosystems_own_database_are_updated_too(page, record, count_arrivals, monkeypatch):
    monkeypatch.setattr(aliases, "RENAME_BATCH", 3)
    with connections["forex"].cursor() as cursor:
        cursor.execute("TRUNCATE trading_signals")
        cursor.execute(
            "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action) "
            "SELECT 'own-' || n, 'forex', now(), 'CABLE', 'BUY' FROM generate_series(1, 7) AS n"
        )
    inserted_rows.record_rows_of("forex", 100)
    count_arrivals()
    alias = SymbolAlias.objects.get(symbol="CABLE")
    page.post(f"{LIST}{alias.pk}/map", {"map": "GBPUSD"})
    own = TradingSignal.objects.using("forex").filter(symbol="CABLE")
    assert names("CABLE") == set(own.values_list("instrument", flat=True)) == {"GBP/USD"}


@pytest.mark.parametrize("cursor", ["", "x", "0", "99:1", "0:9e9"])
def test_a_step_without_its_cursor_is_a_400(page, alias, cursor):
    assert page.post(f"{LIST}{alias.pk}/update_signals/", {"cursor": cursor}).status_code == 400


def test_strangers_map_nothing(stranger, alias):
    assert stranger.post(f"{LIST}{alias.pk}/map", {"map": "X/Y"}).status_code == 403
    assert stranger.get(f"{LIST}{alias.pk}/update_signals/").status_code == 403
    assert stranger.post(f"{LIST}{alias.pk}/update_signals/", {"cursor": aliases.START}).status_code == 403
    assert names() == {"tBTCUSD"}


@pytest.mark.parametrize(
    ("ecosystem", "symbol", "expected"),
    [("crypto", "tBTCUSD", "BTC/USD"), ("forex", "FX:EURUSD-weird", "EUR/USD"), ("crypto", "???", "")],
)
def test_suggestions(ecosystem, symbol, expected):
    assert aliases.suggest_instrument(ecosystem, symbol) == expected
