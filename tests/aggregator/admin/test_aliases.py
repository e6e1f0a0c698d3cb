"""Symbols without a certain name: seen, mapped, their rows mended."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

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


def test_one_click_maps_it_and_mends_its_rows(page, alias, monkeypatch, record):
    monkeypatch.setattr(aliases, "BATCH", 3)
    assert names() == {"tBTCUSD"}
    response = page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"}, follow=True)
    assert "7 signals are called BTC/USD now" in response.content.decode()
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


def test_a_long_mending_goes_on_in_steps(page, alias, monkeypatch):
    monkeypatch.setattr(aliases, "BATCH", 2)
    monkeypatch.setattr("aggregator.admin.aliases.AT_ONCE_S", 0.0)
    response = page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    assert "/mend?" in response["Location"]
    assert "Mend</button>" in " ".join(page.get(response["Location"]).content.decode().split()).replace(
        " <", "<"
    )
    query = response["Location"].partition("?")[2]
    mended = TradingSignal.objects.filter(instrument="BTC/USD", symbol="tBTCUSD").count()
    assert mended_in_steps(page, alias, query) == 7 - mended
    assert names() == {"BTC/USD"}


def mended_in_steps(page, alias, query):
    """Do what the page's script does; return how many signals that mended."""
    told, mended = {"after": dict(parse_qsl(query)).get("after", str(aliases.Mark())), "finished": False}, 0
    while not told["finished"]:
        told = page.post(f"{LIST}{alias.pk}/mend/step?{query}", {"after": told["after"]}).json()
        mended += told["count"]
    return mended


def test_a_wrong_mapping_is_corrected_later(page, alias, record):
    record({"symbol": "ETHUSD", "signal_id": "other"})
    positions = list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position"))
    page.post(f"{LIST}{alias.pk}/map", {"map": "ETH/USD"})
    assert names() == {"ETH/USD"}
    page.post(f"{LIST}{alias.pk}/map", {"map": "BTC/USD"})
    assert names() == {"BTC/USD"}
    assert names("ETHUSD") == {"ETH/USD"}
    assert list(TradingSignal.objects.order_by("pk").values_list("signal_id", "position")) == positions


def test_a_mending_that_was_cut_short_is_done_again(page, alias):
    SymbolAlias.objects.update(instrument="BTC/USD")  # as if the worker had been killed then
    TradingSignal.objects.filter(pk__in=TradingSignal.objects.values("pk")[:2]).update(instrument="WRONG/USD")
    response = page.get(f"{LIST}{alias.pk}/mend_again/")
    assert mended_in_steps(page, alias, response["Location"].partition("?")[2]) >= 7
    assert names() == {"BTC/USD"}


def test_rows_in_an_ecosystems_own_database_are_mended_too(page, record, monkeypatch):
    monkeypatch.setattr(aliases, "BATCH", 3)
    with connections["forex"].cursor() as cursor:
        cursor.execute("TRUNCATE trading_signals")
        cursor.execute(
            "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action) "
            "SELECT 'own-' || n, 'forex', now(), 'CABLE', 'BUY' FROM generate_series(1, 7) AS n"
        )
    inserted_rows.record_rows_of("forex", 100)
    alias = SymbolAlias.objects.get(symbol="CABLE")
    page.post(f"{LIST}{alias.pk}/map", {"map": "GBPUSD"})
    own = TradingSignal.objects.using("forex").filter(symbol="CABLE")
    assert names("CABLE") == set(own.values_list("instrument", flat=True)) == {"GBP/USD"}


@pytest.mark.parametrize("after", ["", "x", "0", "99:1", "0:9e9"])
def test_a_step_without_its_mark_is_a_400(page, alias, after):
    assert page.post(f"{LIST}{alias.pk}/mend/step", {"after": after}).status_code == 400


def test_strangers_map_nothing(stranger, alias):
    assert stranger.post(f"{LIST}{alias.pk}/map", {"map": "X/Y"}).status_code == 403
    assert stranger.get(f"{LIST}{alias.pk}/mend").status_code == 403
    assert stranger.post(f"{LIST}{alias.pk}/mend/step", {"after": "0:0"}).status_code == 403
    assert stranger.get(f"{LIST}{alias.pk}/mend_again/").status_code == 403
    assert names() == {"tBTCUSD"}


@pytest.mark.parametrize(
    ("ecosystem", "symbol", "expected"),
    [("crypto", "tBTCUSD", "BTC/USD"), ("forex", "FX:EURUSD-weird", "EUR/USD"), ("crypto", "???", "")],
)
def test_suggestions(ecosystem, symbol, expected):
    assert aliases.suggestion(ecosystem, symbol) == expected
