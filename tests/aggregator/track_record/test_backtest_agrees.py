"""Real candles, real strategies, three ecosystems: each trade of the backtest is an outcome of the record."""

import pytest
from django.core.management import call_command

from aggregator.ledger import Entry, record
from ecosystems.agent.backtest import Backtest
from ecosystems.strategies import load_strategy
from tests.aggregator.track_record.recording import query, score
from tests.ecosystems.market.sample_market import DATA, REAL, real_candles

pytestmark = pytest.mark.django_db(transaction=True)

STRATEGIES = dict(zip(REAL, ("ema_crossover", "rsi_reversion", "donchian_breakout"), strict=True))


def test_every_trade_of_a_backtest_is_an_outcome_with_the_same_fills_and_return():
    backtests = {}
    for file, name in STRATEGIES.items():
        run = Backtest(load_strategy(name)(*REAL[file], f"replay-{file}", tags=("replay",)))
        signals = [signal for candle in real_candles(file) if (signal := run.step(candle))]
        run.finish()
        backtests[file] = run, signals
        results = record([Entry(signal.to_json()) for signal in signals], "webhook")
        assert {result.fate for result in results} == {"accepted"}, [each.refusal for each in results][:2]
    score()
    call_command("record_prices", "--once", f"--feed=csv:{DATA}")
    score()
    found = {
        row["signal_id"]: row
        for row in query("SELECT signal_id, outcomes.* FROM outcomes JOIN trading_signals USING (position)")
    }
    for run, signals in backtests.values():
        assert len(run.trades) > 30
        for trade in run.trades:
            row, expected = found[trade.signal.signal_id], trade.outcome
            for field in ("state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price"):
                assert row[field] == getattr(expected, field), (field, trade.signal.signal_id)
            assert row["net_return"] == expected.net_return
            assert row["r_multiple"] == expected.r_multiple
        # What the record has beyond them: calls while a position was open, and what was never entered.
        traded = {trade.signal.signal_id for trade in run.trades}
        calls = {signal.signal_id for signal in signals if signal.action != "CLOSE"}
        assert traded <= calls <= found.keys()
