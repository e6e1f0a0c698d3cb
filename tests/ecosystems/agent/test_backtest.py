"""The backtest: cases computed by hand, real candles computed a second way, and the command."""

import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from ecosystems.agent.backtest import MAX_CURVE_POINTS, Backtest
from ecosystems.management.commands.backtest import drawdowns
from ecosystems.market.scoring import FEE_BPS, HORIZON_HOURS
from ecosystems.strategies import BUILT_IN, EXIT, Decision, Parameters, Strategy, load_strategy
from tests.ecosystems.market.sample_market import DATA, REAL, START, candle, real_candles
from tests.ecosystems.market.second_scoring import open_time

BUY = Decision(action="BUY", confidence=0.5, risk=10.0, reward=20.0)
SELL = Decision(action="SELL", confidence=0.5, risk=10.0, reward=20.0)
QUIET = (100, 100, 100, 100)


class Scripted(Strategy[Parameters]):
    """Decides what the test says, by the candle's number."""

    name = "scripted"
    schema = Parameters
    script: dict[int, Decision] = {}
    history = 0

    def prepare(self):
        self.number = -1

    def decide(self, candle):  # noqa: ARG002
        self.number += 1
        return self.script.get(self.number)


def backtest(script, *prices, fee_bps="0", **options):
    """Run a script over candles of (open, high, low, close). A decision on QUIET stops at 90 or 110."""
    strategy = Scripted("crypto", "TEST", "1h", "")
    strategy.script = script
    run = Backtest(strategy, fee_bps=Decimal(fee_bps), **options)
    for i, each in enumerate(prices):
        run.step(candle(i, *each))
    run.finish()
    return run


def outcome(run):
    """Return entry, exit, reason and the profit of one unit before fees of each trade."""
    found = []
    for trade in run.trades:
        entry, exit_price = trade.outcome.entry_price, trade.outcome.last_close
        sign = 1 if trade.signal.action == "BUY" else -1
        found.append((entry, exit_price, trade.reason, sign * (exit_price - entry)))
    return found


def places(number):
    """Return a figure as outcomes have it."""
    return number.quantize(Decimal("1e-12"))


@pytest.mark.parametrize(
    ("decision", "candles", "expected"),
    [
        (BUY, [(102, 121, 101, 120)], (102, 120, "target", 18)),
        (BUY, [(102, 110, 89, 91)], (102, 90, "stop", -12)),
        (BUY, [(102, 121, 89, 100)], (102, 90, "stop", -12)),  # both touched: the stop counts
        (BUY, [(102, 110, 90, 95)], (102, 90, "stop", -12)),  # touched is enough
        (BUY, [(102, 110, 95, 95), (85, 86, 80, 84)], (102, 85, "stop", -17)),  # gap: no fill at the stop
        (BUY, [(102, 110, 95, 95), (125, 126, 124, 125)], (102, 120, "target", 18)),  # no better than asked
        (BUY, [(102, 120, 95, 100)], (102, 100, "end", -2)),  # a target is traded through, not touched
        (BUY, [(102, 110, 95, 107)], (102, 107, "end", 5)),
        (SELL, [(98, 99, 79, 80)], (98, 80, "target", 18)),
        (SELL, [(98, 111, 97, 99)], (98, 110, "stop", -12)),
        (SELL, [(98, 111, 79, 99)], (98, 110, "stop", -12)),
        (SELL, [(98, 99, 97, 98), (115, 116, 114, 115)], (98, 115, "stop", -17)),
        (SELL, [(98, 99, 97, 98), (75, 76, 74, 75)], (98, 80, "target", 18)),
        (SELL, [(98, 99, 90, 93)], (98, 93, "end", 5)),
    ],
)
def test_one_trade(decision, candles, expected):
    run = backtest({0: decision}, QUIET, *candles)
    assert outcome(run) == [expected]
    trade = run.trades[0]
    assert trade.outcome.entered_at == START + timedelta(hours=1)
    if trade.reason != "end":
        assert trade.outcome.exited_at == START + timedelta(hours=len(candles))
    profit = Decimal(expected[-1])
    assert trade.outcome.r_multiple == places(profit / 12)
    assert run.equity == 1 + places(profit / expected[0])


def test_risk_is_measured_from_the_fill():
    run = backtest({0: BUY}, QUIET, (102, 121, 101, 120))
    assert run.trades[0].outcome.r_multiple == Decimal(18) / 12  # filled at 102, stop at 90
    assert run.average_r == Decimal("1.5")
    assert run.hit_rate == 1


def test_fees_are_paid_on_both_fills():
    run = backtest({0: BUY}, QUIET, (100, 121, 101, 120), fee_bps="100")
    assert run.trades[0].gain == (Decimal("20") - Decimal("1.00") - Decimal("1.20")) / 100
    assert run.equity == Decimal("1.178")
    losing = backtest({0: BUY}, QUIET, (100, 101, 99, Decimal("100.5")), fee_bps="100")
    assert losing.hit_rate == 0  # half a point won, two paid


def test_a_signal_for_the_other_side_reverses_the_position():
    run = backtest({0: BUY, 1: SELL}, QUIET, (100, 105, 95, 100), (104, 105, 100, 103))
    assert outcome(run) == [(100, 104, "reversal", 4), (104, 103, "end", 1)]
    assert run.equity == Decimal("1.04") * (1 + places(Decimal(1) / 104))


def test_a_signal_for_the_same_side_is_skipped():
    run = backtest({0: BUY, 1: BUY}, QUIET, (100, 105, 95, 100), (104, 105, 100, 103))
    assert outcome(run) == [(100, 103, "end", 3)]
    assert run.skipped == 1


@pytest.mark.parametrize("opening", [90, 85, 120, 130])
def test_an_open_beyond_stop_or_target_is_not_filled(opening):
    run = backtest({0: BUY}, QUIET, (opening, opening, opening, opening), QUIET)
    assert (run.trades, run.skipped, run.equity) == ([], 1, 1)


def test_a_close_ends_the_position_at_the_next_open():
    run = backtest({0: BUY, 1: EXIT, 2: EXIT}, QUIET, (100, 105, 95, 101), (103, 140, 80, 104), QUIET)
    assert outcome(run) == [(100, 103, "close", 3)]
    assert run.skipped == 1  # the second has nothing to end


def referring(action, number, **fields):
    """A decision about the call of the candle of that number."""
    call = Scripted("crypto", "TEST", "1h", "").signal_id(candle(number, *QUIET))
    return Decision(action=action, refers_to=call, **fields)


def test_a_signal_that_refers_to_the_position_moves_stop_and_target():
    tighter = referring("BUY", 0, risk=3.0, reward=8.0)  # at a close of 104: 101 and 112
    prices = [QUIET, (100, 105, 95, 104), (104, 106, 102, 105), (105, 113, 104, 112)]
    run = backtest({0: BUY, 1: tighter}, *prices)
    assert (outcome(run), run.skipped) == ([(100, 112, "target", 12)], 0)
    assert run.trades[0].outcome.r_multiple == Decimal(12) / 10  # the risk stays that of the call
    stopped = backtest({0: BUY, 1: tighter}, *prices[:2], (104, 106, 100, 105))
    assert outcome(stopped) == [(100, 101, "stop", 1)]


def test_a_reference_to_another_call_or_side_has_no_effect():
    for other in (referring("CLOSE", 5), referring("BUY", 5, risk=1.0, reward=1.0)):
        run = backtest({0: BUY, 1: other}, QUIET, (100, 105, 95, 104), (104, 106, 102, 105))
        assert (outcome(run), run.skipped) == ([(100, 105, "end", 5)], 1)
    opposite = backtest({0: BUY, 1: referring("SELL", 0, risk=1.0, reward=1.0)}, QUIET, QUIET, QUIET)
    assert (outcome(opposite), opposite.skipped) == ([(100, 100, "end", 0)], 1)
    ends = backtest({0: BUY, 1: referring("CLOSE", 0)}, QUIET, QUIET, (104, 106, 102, 105))
    assert (outcome(ends), ends.skipped) == ([(100, 104, "close", 4)], 0)


def test_a_signal_on_the_last_candle_has_no_fill():
    run = backtest({0: BUY}, QUIET)
    assert (run.trades, run.skipped) == ([], 1)


def test_a_signal_at_a_stop_is_filled_at_the_next_open():
    run = backtest({0: BUY, 1: BUY}, QUIET, (100, 100, 88, 100), (101, 125, 100, 120))
    assert outcome(run) == [(100, 90, "stop", -10), (101, 120, "target", 19)]
    assert run.hit_rate == Decimal("0.5")
    assert run.average_r == (Decimal(-1) + places(Decimal(19) / 11)) / 2


def test_drawdown_is_measured_at_closes_from_the_peak():
    run = backtest({0: BUY}, QUIET, (100, 115, 95, 110), (110, 119, 92, 99), (99, 121, 98, 118))
    assert run.drawdown == Decimal(11) / 110  # 1.10 to 0.99; the low of 92 is inside a candle
    assert [equity for _, equity in run.curve] == [
        1,
        Decimal("1.1"),
        Decimal("0.99"),
        Decimal("1.2"),
        Decimal("1.2"),
    ]


def test_a_short_that_loses_all_leaves_nothing_and_no_debt():
    run = backtest({0: SELL}, QUIET, (100, 105, 95, 100), (250, 250, 250, 250))
    assert (run.equity, run.drawdown) == (0, 1)


def test_nothing_traded():
    run = backtest({}, QUIET, QUIET)
    assert (run.trades, run.hit_rate, run.average_r, run.drawdown, run.equity) == ([], None, None, 0, 1)
    assert backtest({}).candles == 0


@pytest.mark.parametrize("fee_bps", ["-1", "10000"])
def test_a_fee_is_a_share(fee_bps):
    with pytest.raises(ValueError, match="share of the price"):
        backtest({}, fee_bps=fee_bps)


def test_a_position_ends_with_its_horizon():
    run = backtest({0: BUY}, QUIET, QUIET, QUIET, (103, 105, 101, 102), QUIET, horizon_hours=Decimal(2))
    assert outcome(run) == [(100, 103, "expired", 3)]
    assert run.trades[0].outcome.exited_at == START + timedelta(hours=3)
    with pytest.raises(ValueError, match="above 0"):
        backtest({}, horizon_hours=Decimal(0))


def test_exposure_counts_the_candles_in_which_a_position_was_held():
    held = (100, 105, 95, 100)
    assert backtest({0: BUY}, QUIET, held, (100, 121, 95, 100), QUIET).exposure == Decimal(2) / 4
    # The candle at whose open the position is closed is not among them.
    expired = backtest({0: BUY}, QUIET, held, held, QUIET, horizon_hours=Decimal(2))
    assert expired.exposure == Decimal(2) / 4


def test_holding_instead_is_from_the_first_open_to_the_last_close():
    run = backtest({}, (100, 110, 90, 105), (105, 130, 100, 120), fee_bps="100")
    assert run.buy_and_hold == (20 - Decimal("2.2")) / 100
    assert backtest({}).buy_and_hold is None


def test_the_profit_factor_is_what_was_won_over_what_was_lost():
    run = backtest({0: BUY, 1: BUY}, QUIET, (100, 100, 88, 100), (101, 125, 100, 120))
    assert run.profit_factor == pytest.approx(19 / 11)
    assert backtest({0: BUY}, QUIET, (102, 121, 101, 120)).profit_factor is None


def test_a_long_curve_is_thinned_evenly():
    count = 5 * MAX_CURVE_POINTS
    run = backtest({}, *[QUIET] * count)
    hours = [(at - START) // timedelta(hours=1) for at, _ in run.curve]
    assert len(hours) <= MAX_CURVE_POINTS + 1
    assert hours == [*range(0, count, 8), count - 1]


def test_drawdowns_are_measured_from_the_peak():
    assert drawdowns([1.0, 2.0, 1.5, 2.0, 1.0]) == [0, 0, -25, 0, -50]


def second_computation(candles, signals, horizon, ecosystem, fee):
    """Follow each position from its fill to its end, in floats: no state but the place in the candles."""
    trades, held_until = [], 0
    order = sorted(signals)
    for n in order:
        signal, fill = signals[n], n + 1
        if signal.action == "CLOSE" or fill < held_until or fill >= len(candles):
            continue
        sign = 1 if signal.action == "BUY" else -1
        stop, target, entry = (float(p) for p in (signal.stop_loss, signal.take_profit, candles[fill].open))
        if not sign * stop < sign * entry < sign * target:
            held_until = fill
            continue
        turns = [
            m + 1 for m in order if m >= fill and signals[m].action != signal.action and m + 1 < len(candles)
        ]
        since, hours = candles[fill].timestamp, timedelta(hours=float(horizon))
        for i in range(fill, len(candles)):
            opening, high, low, close = (
                float(getattr(candles[i], f)) for f in ("open", "high", "low", "close")
            )
            worst, best = (low, high) if sign > 0 else (high, low)
            expired = i - fill > 20 and open_time(ecosystem, since, candles[i].timestamp) >= hours
            if i in turns or expired:
                price = opening
            elif sign * worst <= sign * stop:
                price = opening if sign * opening < sign * stop else stop
            elif sign * best > sign * target:
                price = target
            elif i == len(candles) - 1:
                price = close
            else:
                continue
            trades.append((entry, price, (sign * (price - entry) - fee * (price + entry)) / entry))
            held_until = i if i in turns or expired else i + 1
            break
    return trades


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("file", REAL)
def test_real_candles_are_confirmed_by_a_second_computation(file, name):
    candles = real_candles(file)
    run = Backtest(load_strategy(name)(*REAL[file], ""))
    signals = {i: signal for i, each in enumerate(candles) if (signal := run.step(each))}
    run.finish()
    ecosystem = REAL[file][0]
    fee = float(FEE_BPS[ecosystem]) / 10_000
    expected = second_computation(candles, signals, HORIZON_HOURS[ecosystem], ecosystem, fee)
    assert len(run.trades) == len(expected) > 30
    for trade, figures in zip(run.trades, expected, strict=True):
        found = (trade.outcome.entry_price, trade.outcome.last_close, trade.gain)
        assert tuple(map(float, found)) == pytest.approx(figures, abs=1e-9)


def run_command(*arguments, **options):
    out = StringIO()
    call_command("backtest", *arguments, stdout=out, **options)
    return out.getvalue()


MARKET = ("crypto", "--symbol=ETH/BTC", "--timeframe=5m")


def test_the_command_prints_signals_and_figures(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    if not DATA.exists():
        pytest.skip("real candles are absent: no shared/data beside the project")
    plot = tmp_path / "equity.png"
    feed = f"--feed=csv:{DATA / 'ETH_BTC-5m.csv'}"
    text = run_command(*MARKET, feed, "--param=fast=10", "--fee=0.0005", f"--plot={plot}")
    lines = text.splitlines()
    assert sum(" entry " in line and " stop " in line for line in lines) > 100
    assert {"candles", "trades", "hit", "average", "drawdown", "return"} <= {
        line.split()[0] for line in lines
    }
    assert "candles        5760" in lines
    assert "time stop      after 720 hours of open market" in lines
    assert plot.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_the_command_runs_on_the_synthetic_market():
    since = datetime.now(UTC) - timedelta(days=2)
    text = run_command(
        *MARKET,
        "--feed=synthetic:7",
        "--strategy=donchian_breakout",
        f"--since={since.isoformat()}",
        verbosity=0,
    )
    assert text.startswith("rules          the track record's, version 1")
    assert "buy and hold " in text


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--feed=csv:/none.csv"], "/none.csv cannot be read: No such file or directory"),
        (["--feed=live"], "invalid feed 'live': it may be csv:PATH"),
        (["--feed=synthetic", "--strategy=macd"], "unknown strategy 'macd'"),
        (["--feed=synthetic", "--param=fast=1"], "ema_crossover: Expected `int` >= 2 for fast"),
        (["--feed=synthetic", "--plot=/none/equity.png"], "/none is not a directory"),
        (["--feed=synthetic", "--plot=equity.jpg"], "equity.jpg is not a PNG"),
        (["--feed=synthetic", "--fee=1"], "write a share from 0 to below 1"),
        (["--feed=synthetic", "--horizon=0"], "write a number of hours"),
        (["--feed=synthetic", "--since=today"], "invalid time 'today'"),
        (["--feed=synthetic", "--param=fast"], "write name=value"),
    ],
)
def test_a_wrong_argument_is_reported_in_one_line(arguments, text):
    with pytest.raises(CommandError) as caught:
        run_command(*MARKET, *arguments)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_argument_ends_with_two():
    with pytest.raises(CommandError) as caught:
        run_command(*MARKET, "--feed=live")
    assert caught.value.returncode == 2


def test_a_plot_without_matplotlib_is_refused_before_the_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(CommandError, match="pip install matplotlib"):
        run_command(*MARKET, "--feed=synthetic", "--plot=equity.png")
