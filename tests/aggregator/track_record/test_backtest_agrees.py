"""Real candles, real strategies, three ecosystems: each trade of the backtest is an outcome of the record."""

import numpy as np
import pytest
from django.core.management import call_command

from aggregator.ledger import Entry, record
from aggregator.models import Outcome
from aggregator.track_record import statistics
from ecosystems.agent.backtest import Backtest
from ecosystems.strategies import load_strategy
from tests.aggregator.track_record.recording import query, score
from tests.ecosystems.market.sample_market import DATA, REAL, real_candles
from tests.servers import PROJECT

pytestmark = pytest.mark.django_db(transaction=True)

STRATEGIES = dict(zip(REAL, ("ema_crossover", "rsi_reversion", "donchian_breakout"), strict=True))
FACTS = (
    *("state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price"),
    *("net_return", "r_multiple", "mfe_r", "mae_r", "ambiguous"),
)
SKIPPED = "a position of that side was open"


@pytest.fixture
def replayed():
    """The backtest of each strategy with its signals, and the outcomes of all of them by signal."""
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
    rows = query("SELECT signal_id, outcomes.* FROM outcomes JOIN trading_signals USING (position)")
    return backtests, {row["signal_id"]: row for row in rows}


def beyond(run, calls, outcomes):
    """Return why the backtest has no trade of each of the other calls."""
    traded = {trade.signal.signal_id for trade in run.trades}
    why = {}
    for call in calls:
        if call.signal_id in traded:
            continue
        held = [
            trade
            for trade in run.trades
            if trade.signal.timestamp < call.timestamp
            and (trade.outcome.exited_at is None or call.timestamp <= trade.outcome.exited_at)
        ]
        if [trade.signal.action for trade in held] == [call.action]:
            why[call.signal_id] = SKIPPED
        else:
            why[call.signal_id] = outcomes[call.signal_id]["state"]
    return why


NAMES = ("win_rate", "profit_factor", "mean_r", "total_r", "max_drawdown_r", "sharpe")


def described(file, run, calls, figures, expected):
    """Return the lines of the table in the documentation: the backtest, the record, other software."""
    _, symbol, timeframe = REAL[file]
    title = f"{symbol.replace('_', '/')} {timeframe}, `{STRATEGIES[file]}`"
    compounded = (100 * (float(run.equity) - 1), 100 * float(run.drawdown))
    ours = [run.hit_rate, run.profit_factor, run.average_r, *compounded, run.sharpe]
    units = ("", "", "", " %", " %", "")
    for name, count, values, unit in (
        ("backtest", len(run.trades), ours, units),
        ("record", calls, [figures[each] for each in NAMES], ("", "", "", " R", " R", "")),
        ("pandas, empyrical", calls, [expected[each] for each in NAMES], ("", "", "", " R", " R", "")),
    ):
        shown = [
            "" if value is None or value != value else f"{value:.4f}{each}"
            for value, each in zip(values, unit, strict=True)
        ]
        yield f"| {title} | {name} | {count} | {' | '.join(shown)} |"


def test_the_record_of_a_replay_is_its_backtest_and_the_calls_that_this_skipped(replayed, independent):
    backtests, outcomes = replayed
    for file, (run, signals) in backtests.items():
        assert len(run.trades) > 30
        for trade in run.trades:
            row, expected = outcomes[trade.signal.signal_id], trade.outcome
            for field in FACTS:
                assert row[field] == getattr(expected, field), (field, trade.signal.signal_id)
        gains = np.array([float(outcomes[trade.signal.signal_id]["net_return"]) for trade in run.trades])
        assert float(run.equity) == pytest.approx(
            1 + independent.empyrical.cum_returns_final(gains), rel=1e-9
        )
        # What the record has beyond them.
        calls = [signal for signal in signals if signal.action != "CLOSE"]
        why = beyond(run, calls, outcomes)
        assert len(run.trades) + len(why) == len(calls)
        assert set(why.values()) <= {SKIPPED, "missed", "unfilled", "cancelled", "unpriced"}
        assert len(why) <= run.skipped

        agent = Outcome.objects.filter(agent_source=f"replay-{file}")
        figures = independent.ours(statistics.record_of(agent, run.strategy.ecosystem))
        expected = independent.figures([outcomes[call.signal_id] for call in calls])
        if figures["sharpe"] is None:  # of fewer than 60 days
            figures["sharpe"] = expected["sharpe"] = float("nan")
        assert figures == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True)
        # The documentation has these figures.
        table = (PROJECT / "docs" / "track-record.md").read_text()
        for line in described(file, run, len(calls), figures, expected):
            assert line in table, line
