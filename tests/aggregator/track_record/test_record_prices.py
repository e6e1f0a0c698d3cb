"""`manage.py record_prices`: candles of the instruments that have calls."""

from datetime import UTC, datetime, timedelta

import pytest
from django.core.management import CommandError, call_command

from aggregator.health.checks import Status
from aggregator.health.market_checks import PricesCheck
from aggregator.ledger import aliases
from aggregator.models import Agent, Outcome, PriceRecording, StoredCandle, SymbolAlias
from aggregator.track_record.recorder import PriceRecorder
from ecosystems.market.synthetic_feed import SyntheticFeed
from tests.aggregator.track_record.recording import T0, call, outcome, query, score
from tests.ecosystems.market.sample_market import DATA, write

pytestmark = pytest.mark.django_db(transaction=True)


def record_due():
    recorder = PriceRecorder()
    while recorder.run_once():
        pass
    return recorder


def test_synthetic_calls_are_priced_by_the_made_up_market_of_their_seed():
    t0 = datetime.now(UTC).replace(second=30, microsecond=0) - timedelta(minutes=5)
    plain = call(tags=["synthetic"], symbol="BTCUSDT", timestamp=t0, agent_source="plain")
    seeded = call(tags=list(SyntheticFeed("crypto", 7).tags), timestamp=t0, agent_source="seeded")
    score()
    call_command("record_prices", "--once")
    call_command("record_prices", "--once")
    score()
    for signal_id, seed in ((plain, 0), (seeded, 7)):
        first = next(SyntheticFeed("crypto", seed).candles("BTC-USDT", "1m", t0))
        found = outcome(signal_id)
        assert (found["entered_at"], found["entry_price"]) == (first.timestamp, first.open)
    assert {row["feed"] for row in query("SELECT DISTINCT feed FROM candles")} == {"synthetic", "synthetic:7"}
    count = StoredCandle.objects.count()
    PriceRecording.objects.update(due_at=t0)
    record_due()
    assert StoredCandle.objects.count() - count <= 4  # but for what has closed since


def test_a_call_whose_symbol_was_mapped_late_is_priced_from_its_own_time_on():
    now = datetime.now(UTC).replace(second=30, microsecond=0)
    call(tags=["synthetic"], timestamp=now - timedelta(minutes=5), agent_source="other")
    score()
    record_due()
    calls = {
        age: call(tags=["synthetic"], symbol=f"X{age}YZ", timestamp=now - timedelta(hours=age))
        for age in (3, 30)
    }
    score()
    assert outcome(calls[30])["state"] == "unpriced"
    for age in calls:
        aliases.map_symbol(SymbolAlias(ecosystem="crypto", symbol=f"X{age}YZ"), "BTC/USDT")
    assert aliases.update_signals() == 2
    score()
    record_due()
    score()
    for age, signal_id in calls.items():
        first = next(SyntheticFeed("crypto").candles("BTC/USDT", "1m", now - timedelta(hours=age)))
        assert outcome(signal_id)["entered_at"] == first.timestamp
    count = StoredCandle.objects.count()
    assert PriceRecording.objects.update(due_at=now) == 1
    record_due()
    assert StoredCandle.objects.count() - count <= 4


def test_csv_files_price_the_instruments_that_have_calls(tmp_path):
    write(tmp_path / "MADE_UP-1m.csv", 30)
    write(tmp_path / "OTHER_UP-1m.csv", 30)
    (tmp_path / "BROKEN_UP-1m.csv").write_text("nonsense")
    impossible = {
        "FAR": "9999-12-31T23:59:00Z,1,1,1,1,1",
        "FINE": f"2024-01-01T00:06:00Z,1.{'0' * 40}1,2,1,1,1",
        "MANY": "2024-01-01T00:06:00Z,1,1,1,1,1e30",
        "TINY": "2024-01-01T00:06:00Z,1,1,1,1,1e-16384",
    }
    for name, line in impossible.items():
        (tmp_path / f"{name}_UP-1m.csv").write_text(f"timestamp,open,high,low,close,volume\n{line}\n")
    for symbol in ("MADE/UP", "BROKEN/UP", *(f"{name}/UP" for name in impossible)):
        call(symbol=symbol, timestamp="2024-01-01T00:05:30Z")
    score()
    call_command("record_prices", "--once", f"--feed=csv:{tmp_path}")
    assert query("SELECT instrument, feed, seconds, count(*) FROM candles GROUP BY 1, 2, 3") == [
        {"instrument": "MADE/UP", "feed": "csv", "seconds": 60, "count": 30}
    ]
    with pytest.raises(CommandError, match="is not a folder"):
        call_command("record_prices", "--once", "--feed=csv:/none")
    with pytest.raises(CommandError, match="it may be live or csv:DIR"):
        call_command("record_prices", "--once", "--feed=telepathy")


def test_a_feed_without_keys_is_reported_by_the_check_and_asked_again_later():
    call(ecosystem="forex", symbol="EUR_USD", tags=[], timestamp=T0)
    score()
    record_due()
    (recording,) = PriceRecording.objects.all()
    assert recording.error.startswith("OANDA_TOKEN is not set")
    assert recording.failures == 1
    assert recording.due_at > datetime.now(UTC)
    result = PricesCheck().result(wait=True)
    assert result.status is Status.OK, "no record is published, and many a hub keeps none"
    assert "forex EUR/USD: OANDA_TOKEN is not set" in result.detail
    now = datetime.now(UTC)
    Agent.objects.create(
        ecosystem="forex",
        agent_source=Outcome.objects.get().agent_source,
        first_seen=now,
        last_seen=now,
        last_transport="webhook",
        published_at=now,
    )
    result = PricesCheck().result(wait=True)
    assert result.status is Status.DEGRADED
    assert "forex EUR/USD: OANDA_TOKEN is not set" in result.detail


def test_a_pinned_instrument_is_recorded_without_calls():
    PriceRecording.objects.create(ecosystem="stock", instrument="AAPL", feed="synthetic", is_pinned=True)
    PriceRecording.objects.create(ecosystem="stock", instrument="MSFT", feed="synthetic")
    record_due()
    assert {row["instrument"] for row in query("SELECT DISTINCT instrument FROM candles")} == {"AAPL"}
    assert PricesCheck().result(wait=True).status is Status.OK


def test_real_candles_are_recorded_whole():
    if not DATA.exists():
        pytest.skip("real candles are absent: no shared/data beside the project")
    call(symbol="ETH/BTC", timestamp="2018-01-10T12:00:00Z", stop_loss="0.0001")
    score()
    call_command("record_prices", "--once", f"--feed=csv:{DATA}")
    assert query("SELECT seconds, count(*) FROM candles GROUP BY 1") == [{"seconds": 300, "count": 5760}]
    score()
    assert query("SELECT state, exit_reason FROM outcomes") == [{"state": "open", "exit_reason": None}]
