"""The statistics of agents: those of pandas, scipy and empyrical where they define the same, to 1e-9."""

import dataclasses
import json
import random
import re
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.template.loader import render_to_string
from django.test.utils import CaptureQueriesContext

from aggregator.models import Agent, Outcome
from aggregator.track_record import statistics
from commerce.api.outcomes import record_body
from commerce.pages.records import public_calls
from ecosystems.agent.backtest import Backtest
from ecosystems.strategies import load_strategy
from tests.aggregator.track_record.recording import T0, call, candle_rows, insert, outcome, query, score
from tests.ecosystems.market.sample_market import made_up

pytestmark = pytest.mark.django_db

COMMON = {
    "agent_source": "random",
    "side": 1,
    "simulated": False,
    "ambiguous": False,
    "chosen_by": "",
    "stale": "",
    "fill_by": T0.isoformat(),
    "horizon_hours": 720,
    "fee_bps": 10,
    "rule_version": 1,
    "daily_r": [],
}
STATES = ["closed"] * 8 + ["open", "waiting", "unfilled", "missed", "cancelled", "unpriced"]


def random_outcome(source, position, ecosystem):
    """Return an outcome as it may be, now and then without an R or without slippage."""
    t0 = T0 + timedelta(minutes=source.randrange(400 * 1440))
    row = COMMON | {"position": position, "ecosystem": ecosystem, "instrument": source.choice("ABCD")}
    row |= {"t0": t0.isoformat(), "lag": f"{source.randrange(90_000)} ms", "state": source.choice(STATES)}
    if row["state"] not in {"open", "closed"}:
        return row
    end = t0 + timedelta(minutes=source.randrange(6 * 1440))
    row |= {"entered_at": t0.isoformat(), "entry_price": source.randrange(90, 110)}
    row |= {"last_close": source.randrange(90, 110), "net_return": round(source.gauss(0, 0.02), 12)}
    row["slippage"] = source.choice([None, round(source.gauss(0, 0.001), 12)])
    if source.random() < 0.9:
        row["r_multiple"] = round(source.gauss(0.1, 1.2), 12)
        row["daily_r"] = [round(source.gauss(0, 0.5), 12) for _ in range((end.date() - t0.date()).days)]
    if row["state"] == "closed":
        row |= {"exited_at": end.isoformat(), "exit_price": row["last_close"], "exit_reason": "stop"}
    return row


@pytest.mark.parametrize("ecosystem", ["crypto", "forex", "stock"])
def test_figures_are_those_of_other_software(ecosystem, independent):
    source = random.Random(ecosystem)
    for _ in range(3):
        rows = [random_outcome(source, position, ecosystem) for position in range(1, 301)]
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM outcomes")
            statement = "INSERT INTO outcomes SELECT * FROM json_populate_recordset(NULL::outcomes, %s::json)"
            cursor.execute(statement, [json.dumps(rows)])
        record = statistics.record_of(Outcome.objects.all(), ecosystem)
        expected = independent.figures(query("SELECT * FROM outcomes ORDER BY position"))
        assert independent.ours(record) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert sum(record.states.values()) == record.calls == 300


def test_an_open_call_is_valued_at_its_last_close_on_later_days_as_well():
    """Its market is closed, or its feed lags, while another call is closed: its loss does not vanish."""
    call(signal_id="held", stop_loss=90)
    call(signal_id="sold", stop_loss=90, take_profit=105, symbol="ETH/USDT")
    insert(candle_rows("100/100/95/95"))
    insert(candle_rows("100/101/100/100"), instrument="ETH/USDT")
    insert(candle_rows("100/106/100/106", T0 + timedelta(days=2, seconds=30)), instrument="ETH/USDT")
    score()
    held, sold = (outcome(name)["r_multiple"] for name in ("held", "sold"))
    record = statistics.record_of(Outcome.objects.all(), "crypto")
    flat = outcome("sold")["daily_r"][0]
    assert [r for _, r in record.equity] == [held + flat, held + flat, held + sold]
    assert held < 0 < sold


NAMED_SCAN = "Index(?: Only)? Scan using (?:outcomes_statistics|outcomes_held_by_day)"


@pytest.mark.parametrize("delay", [timedelta(0), timedelta(hours=1)])
def test_figures_of_decided_calls_are_read_from_an_index_alone(settings, delay):
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, record_delay=delay)
    calls = public_calls(Agent(ecosystem="crypto", agent_source="random")).filter(simulated=False)
    with CaptureQueriesContext(connection) as statements:
        statistics.record_of(calls, "crypto")
    with connection.cursor() as cursor:
        # Of a table without rows, the planner would use these, or none.
        cursor.execute("DROP INDEX outcomes_agent, outcomes_order, outcomes_decided")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
    plans = [str(query(f"EXPLAIN {statement['sql']}")) for statement in statements]
    used = [re.findall(NAMED_SCAN, plan) for plan in plans]
    only = ["Index Only Scan using outcomes_statistics"]
    assert used == [only, only, ["Index Scan using outcomes_held_by_day"], only], plans


def test_a_backtests_equity_and_drawdown_are_those_of_compounding_returns(independent):
    run = Backtest(load_strategy("ema_crossover")("crypto", "MADE/UP", "1m", "bot", fast=3, slow=6))
    for candle in made_up("crypto", 3, "1m", 2000):
        run.step(candle)
    run.finish()
    gains = np.array([float(trade.gain) for trade in run.trades])
    assert len(gains) > 50
    assert float(run.equity) == pytest.approx(1 + independent.empyrical.cum_returns_final(gains), rel=1e-9)
    curve = np.array([float(equity) for _, equity in run.curve])
    returns = np.diff(curve) / curve[:-1]
    assert float(run.drawdown) == pytest.approx(-independent.empyrical.max_drawdown(returns), rel=1e-9)
    r = np.array([float(trade.outcome.r_multiple) for trade in run.trades])
    assert run.profit_factor == pytest.approx(
        independent.empyrical.omega_ratio(r, 0.0, 0.0, annualization=1), rel=1e-9
    )


def test_figures_that_have_too_little_behind_them_are_absent():
    record = statistics.record_of(Outcome.objects.all(), "crypto")
    assert (record.calls, record.win_rate, record.mean_r, record.sharpe) == (0, None, None, None)
    assert record.holding_return is None
    figures = record_body(record, "crypto", "bot", simulated=False)
    assert record.absent.keys() == {name for name, value in figures.items() if value is None}


def test_the_page_says_why_each_figure_is_not_shown():
    call(tags=[])
    score()
    record = statistics.record_of(Outcome.objects.all(), "crypto")
    page = render_to_string("track_record/figures.html", {"record": record})
    missing = [text for text in re.findall("<dd>(.*?)</dd>", page) if "—" in text]
    assert len(missing) == 7
    assert all("<small>" in text for text in missing)
