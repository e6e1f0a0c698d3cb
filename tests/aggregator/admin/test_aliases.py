"""Symbols without a certain instrument: listed, mapped, their signals updated."""

from __future__ import annotations

import re

import pytest
from django.conf import settings
from django.db import connection, connections
from django.utils.module_loading import import_string

from aggregator.ledger import aliases, inserted_rows
from aggregator.models import SymbolAlias, TradingSignal
from tests.commerce.feed.reading import reader

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
    assert "Map to TBTC/USD</button>" in seen
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


def test_the_worker_continues_a_long_update(page, alias, monkeypatch, record):
    monkeypatch.setattr(aliases, "RENAME_BATCH", 2)
    monkeypatch.setattr("aggregator.admin.aliases.INLINE_TIMEOUT_S", 0.0)
    response = page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"}, follow=True)
    assert "0 signals updated to BTC/USD so far. The worker updates the rest." in response.content.decode()
    record({"symbol": "tBTCUSD"})
    assert names() == {"tBTCUSD", "BTC/USD"}, "what is recorded since has its instrument already"
    run_job("update-instruments")
    assert names() == {"BTC/USD"}
    assert SymbolAlias.objects.get().update_cursor == ""


def run_job(name):
    """Do what the worker does within the job's interval."""
    path, interval, *_ = settings.PERIODIC_JOBS[name]
    assert interval <= 30
    import_string(path)()


def test_a_mapping_that_replaces_an_unfinished_one_updates_all(page, alias, monkeypatch):
    monkeypatch.setattr(aliases, "RENAME_BATCH", 3)
    aliases.map_symbol(alias, "ETH/USD")
    aliases._step(alias.pk)
    assert names() == {"tBTCUSD", "ETH/USD"}
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    assert names() == {"BTC/USD"}


def test_a_symbol_that_two_map_at_once_keeps_its_count_and_updates_all_signals():
    first = SymbolAlias.objects.create(ecosystem="crypto", symbol="ETHUSD1", instrument="", signals=1)
    second = SymbolAlias.objects.get()
    aliases.map_symbol(first, "ETH/USD")
    SymbolAlias.objects.update(signals=2)
    aliases.map_symbol(second, "ETH/USDT")
    known = SymbolAlias.objects.get()
    assert (known.instrument, known.signals) == ("ETH/USDT", 2)
    assert (known.update_from, known.update_cursor) == ("", aliases.START), "some may be ETH/USD by now"


def test_every_list_of_instruments_follows_a_mapping(page, alias):
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    listed = reader().get("instruments").json()
    assert [row["instrument"] for row in listed["instruments"]] == ["BTC/USD"]
    for term in ("tBTCUSD", "BTC/USD"):
        found = page.get("/admin/aggregator/tradingsignal/", {"q": term}).content.decode()
        assert found.count("BTC/USD") >= 7, term


@pytest.mark.parametrize(
    ("ecosystem", "text"), [("crypto", "gold!!"), ("crypto", "BTC"), ("forex", "gold!!"), ("stock", "gold!!")]
)
def test_what_is_no_instrument_of_the_ecosystem_is_refused(page, record, ecosystem, text):
    record({"symbol": "GER40.cash!", "ecosystem": ecosystem})
    alias = SymbolAlias.objects.get()
    form = {
        "form-TOTAL_FORMS": 1, "form-INITIAL_FORMS": 1, "form-0-id": alias.pk,
        "form-0-instrument": text, "_save": "Save",
    }  # fmt: skip
    assert f"This is no instrument of {ecosystem}" in page.post(LIST, form).content.decode()
    assert page.post(f"{LIST}{alias.pk}/map", {"map": text}).status_code == 403
    added = page.post(LIST + "add/", {"ecosystem": ecosystem, "symbol": "X Y", "instrument": text})
    assert f"This is no instrument of {ecosystem}" in added.content.decode()
    assert names("GER40.cash!") == {"GER40.cash!"}


def test_a_wrong_mapping_is_corrected_later(page, alias, record):
    record({"symbol": "ETHUSD", "signal_id": "other"})
    positions = list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position"))
    page.post(f"{LIST}{alias.pk}/map", {"map": "ETH/USD"})
    assert names() == {"ETH/USD"}
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    assert names() == {"BTC/USD"}
    assert names("ETHUSD") == {"ETH/USD"}
    assert list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position")) == positions


def test_all_signals_can_be_updated_again(page, alias):
    SymbolAlias.objects.update(instrument="BTC/USD")
    TradingSignal.objects.filter(pk__in=TradingSignal.objects.values("pk")[:2]).update(instrument="WRONG/USD")
    path = f"{LIST}{alias.pk}/update_signals/"
    assert "Set the instrument of all tBTCUSD signals to BTC/USD" in page.get(path).content.decode()
    assert "WRONG/USD" in names()
    page.post(path)
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


def test_strangers_map_nothing(stranger, alias):
    assert stranger.post(f"{LIST}{alias.pk}/map", {"map": "X/Y"}).status_code == 403
    assert stranger.get(f"{LIST}{alias.pk}/update_signals/").status_code == 403
    assert stranger.post(f"{LIST}{alias.pk}/update_signals/").status_code == 403
    assert names() == {"tBTCUSD"}
