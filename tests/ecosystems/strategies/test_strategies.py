"""Strategies: their signals against a second computation in NumPy, and what an agent relies on."""

import re
import time
import tracemalloc
from datetime import UTC, timedelta
from decimal import Decimal

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from ecosystems import ECOSYSTEMS
from ecosystems import signal as wire
from ecosystems.market.candles import duration
from ecosystems.market.csv_feed import CsvFeed
from ecosystems.strategies import BUILT_IN, Decision, load_strategy
from ecosystems.strategies.strategy import tick
from tests.ecosystems.market.sample_market import REAL, candle, made_up, real_candles, write

GENERATED = [("crypto", 1, "1m"), ("forex", 2, "15m"), ("stock", 3, "1h")]


def signals(strategy, candles):
    return [signal for each in candles if (signal := strategy.on_candle(each))]


# The second computation. Its averages start from the first value alone, talipp's from a mean of the first
# few, so the two agree only where an average no longer depends on its start, as `history` promises.


def smoothed(values, weight):
    result = np.array(values, dtype=float)
    for i in range(1, len(result)):
        result[i] = result[i - 1] + weight * (result[i] - result[i - 1])
    return result


def true_range_average(high, low, close, period=14):
    ranges = high - low
    ranges[1:] = np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1])
    return smoothed(ranges, 1 / period)


def ema_crossover(high, low, close, atr):
    gap = smoothed(close, 2 / 13) - smoothed(close, 2 / 27)
    before = np.roll(gap, 1)
    side = np.where((before <= 0) & (gap > 0), 1, np.where((before >= 0) & (gap < 0), -1, 0))
    return side, np.abs(gap - before) / atr / 0.2, np.zeros(len(close), dtype=bool)


def rsi_reversion(high, low, close, atr):
    change = np.diff(close, prepend=close[0])
    gains, losses = (smoothed(np.maximum(sign * change, 0), 1 / 14) for sign in (1, -1))
    with np.errstate(invalid="ignore"):  # nothing moved yet on the first candle
        rsi = 100 * gains / (gains + losses)
    before = np.roll(rsi, 1)
    side = np.where((before < 30) & (rsi >= 30), 1, np.where((before > 70) & (rsi <= 70), -1, 0))
    crossed = (side == 0) & (((before < 50) & (rsi >= 50)) | ((before > 50) & (rsi <= 50)))
    crossings = np.flatnonzero(crossed)
    entries = np.searchsorted(np.flatnonzero(side), crossings)
    exits = np.zeros(len(close), dtype=bool)
    exits[crossings[entries > np.concatenate([[0], entries[:-1]])]] = True
    return side, np.where(side > 0, 30 - before, before - 70) / 15, exits


def donchian_breakout(high, low, close, atr):
    top, bottom = channel(high, low, 20)
    outside = np.where(close > top, 1, np.where(close < bottom, -1, 0))
    side = np.where(outside != np.roll(outside, 1), outside, 0)
    ceiling, floor = channel(high, low, 10)
    beyond = {1: np.flatnonzero(close < floor), -1: np.flatnonzero(close > ceiling)}
    exits, entries = np.zeros(len(close), dtype=bool), np.flatnonzero(side)
    for this, following in zip(entries, [*entries[1:], len(close)], strict=True):
        out = beyond[int(side[this])]
        exits[out[(out > this) & (out < following)][:1]] = True
    return side, np.where(side > 0, close - top, bottom - close) / atr, exits


def channel(high, low, period):
    top, bottom = np.full(len(high), np.inf), np.full(len(high), -np.inf)
    top[period:] = sliding_window_view(high, period).max(axis=1)[:-1]
    bottom[period:] = sliding_window_view(low, period).min(axis=1)[:-1]
    return top, bottom


SECOND = {f.__name__: f for f in (ema_crossover, rsi_reversion, donchian_breakout)}


def second_computation(name, ecosystem, candles, timeframe, skip):
    high, low, close = (
        np.array([float(getattr(c, field)) for c in candles]) for field in ("high", "low", "close")
    )
    atr = true_range_average(high, low, close)
    side, strength, exits = SECOND[name](high, low, close, atr)
    for i in np.flatnonzero((side != 0) | exits):
        if i >= skip:
            at, last, sign = candles[i].timestamp + duration(timeframe), candles[i].close, int(side[i])
            if exits[i]:
                yield at, "CLOSE", None, None, None, None
                continue
            step = tick(ecosystem, last)
            prices = ((last + Decimal(sign * n * atr[i])).quantize(step) for n in (0, -2, 3))
            yield at, "BUY" if sign > 0 else "SELL", *prices, round(0.5 + 0.5 * min(strength[i], 1), 4)


def assert_confirmed(name, ecosystem, symbol, timeframe, candles):
    strategy = load_strategy(name)(ecosystem, symbol, timeframe, "agent")
    strategy.warm_up(candles[: strategy.history])
    found = [
        (s.timestamp, s.action, s.entry_price, s.stop_loss, s.take_profit, s.confidence)
        for s in signals(strategy, candles[strategy.history :])
    ]
    expected = list(second_computation(name, ecosystem, candles, timeframe, strategy.history))
    assert len(found) > 10
    assert found == expected


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize("file", REAL)
def test_real_candles_are_confirmed_by_a_second_computation(file, name):
    assert_confirmed(name, *REAL[file], real_candles(file))


@pytest.mark.parametrize("name", BUILT_IN)
@pytest.mark.parametrize(("ecosystem", "seed", "timeframe"), GENERATED)
def test_generated_candles_are_confirmed_by_a_second_computation(ecosystem, seed, timeframe, name):
    assert_confirmed(name, ecosystem, "MADE/UP", timeframe, made_up(ecosystem, seed, timeframe, 3000))


def test_a_breakout_by_hand():
    flat = [candle(i, 100, 101, 99, 100) for i in range(4)]
    out = [candle(4, 100, 104, 100, 103), candle(5, 103, 106, 103, 105), candle(6, 105, 105, 98, 98)]
    strategy = load_strategy("donchian_breakout")("stock", "AAPL", "1h", "agent", channel=3, atr_period=2)
    buy, sell = signals(strategy, flat + out)
    # True ranges 2, 2, 2, 2, then 4 (104 over a close of 100): Wilder's average of two is (2 + 4) / 2 = 3.
    assert (buy.action, buy.entry_price, buy.stop_loss, buy.take_profit) == ("BUY", 103, 97, 112)
    assert buy.confidence == round(0.5 + 0.5 * 2 / 3, 4)  # two beyond 101, in ranges of 3
    assert buy.timestamp == out[0].timestamp + timedelta(hours=1)
    # The second close outside on the same side is no news; ranges 3 and 7 make (3 + 3) / 2 = 3, then 5.
    assert (sell.action, sell.entry_price, sell.stop_loss, sell.take_profit) == ("SELL", 98, 108, 83)


def test_an_exit_is_a_close_without_prices():
    flat = [candle(i, 100, 101, 99, 100) for i in range(4)]
    out = [candle(4, 100, 104, 100, 103), candle(5, 103, 106, 103, 105), candle(6, 105, 105, 102, 102)]
    parameters = {"channel": 3, "exit_channel": 2, "atr_period": 2}
    strategy = load_strategy("donchian_breakout")("crypto", "Volatility 75 Index", "1h", "a", **parameters)
    buy, close = signals(strategy, [*flat, *out, candle(7, 102, 103, 100, 101), candle(8, 101, 102, 99, 100)])
    assert (buy.action, close.action) == ("BUY", "CLOSE")
    # 101 is below the lows of the two candles before it, 103 and 102; 100 is no news.
    assert close.timestamp == candle(8, 1, 1, 1, 1).timestamp
    figures = (close.entry_price, close.stop_loss, close.take_profit, close.confidence, close.refers_to)
    assert figures == (None,) * 5
    assert wire.parse(close.to_json()) == close
    assert close.signal_id.startswith("donchian_breakout:Volatility_75_Index:")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_restarted_agent_repeats_itself(name):
    candles = made_up("crypto", 4, "5m", 2000)
    first = signals(load_strategy(name)("crypto", "BTCUSDT", "5m", "agent"), candles)
    again = load_strategy(name)("crypto", "BTCUSDT", "5m", "agent")
    begin = 1500
    again.warm_up(candles[begin - again.history : begin])
    repeated = signals(again, candles[begin - 3 :])
    assert repeated
    assert repeated == [s for s in first if s.timestamp > candles[begin].timestamp]


@pytest.mark.parametrize("name", BUILT_IN)
def test_signals_keep_the_contract(name):
    strategy = load_strategy(name)("crypto", "BINANCE:BTCUSDT", "1m", "agént " * 20, tags=("synthetic",))
    found = signals(strategy, made_up("crypto", 5, "1m", 1000))
    assert len({s.signal_id for s in found}) == len(found) > 0
    for signal in found:
        assert wire.parse(signal.to_json()) == signal
        assert re.fullmatch(rf"{name}:BTC/USDT:\d{{8}}T\d{{6}}Z:[0-9a-f]{{16}}", signal.signal_id)
        assert signal.tags == ("synthetic",)
        assert signal.timestamp.tzinfo is UTC


def test_an_id_tells_agent_market_timeframe_and_parameters_apart():
    strategy, one = load_strategy("ema_crossover"), candle(0, 1, 1, 1, 1)
    same = [strategy("crypto", symbol, "1h", "a", fast=12) for symbol in ("BTCUSDT", "BTC/USDT")]
    others = [
        strategy("crypto", "BTCUSDT", "1h", "b"),
        strategy("crypto", "ETHUSDT", "1h", "a"),
        strategy("crypto", "BTCUSDT", "5m", "a"),
        strategy("crypto", "BTCUSDT", "1h", "a", fast=11),
        load_strategy("rsi_reversion")("crypto", "BTCUSDT", "1h", "a"),
    ]
    assert len({s.signal_id(one) for s in same}) == 1
    assert len({s.signal_id(one) for s in same + others}) == 6
    longest = strategy("stock", "X" * 64, "1h", "a" * 500).signal_id(one)
    assert len(longest) <= 128


def test_old_candles_are_passed_over():
    candles = made_up("crypto", 6, "1m", 1500)
    twice = [each for pair in zip(candles, candles, strict=True) for each in pair]
    strategy = load_strategy("ema_crossover")
    assert signals(strategy("crypto", "A/B", "1m", ""), twice) == signals(
        strategy("crypto", "A/B", "1m", ""), candles
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_market_that_does_not_move_gives_nothing(name):
    assert (
        signals(
            load_strategy(name)("crypto", "A/B", "1h", ""),
            [candle(i, 0.1, 0.1, 0.1, 0.1) for i in range(300)],
        )
        == []
    )


@pytest.mark.parametrize(
    ("name", "parameters", "text"),
    [
        ("ema_crossover", {"fast": 30}, "fast must be below slow, not 30 and 26"),
        ("ema_crossover", {"fast": "x"}, "Expected `int`, got `str` for fast"),
        ("ema_crossover", {"fast": 1}, "for fast"),
        ("ema_crossover", {"slow": 1001}, "for slow"),
        (
            "ema_crossover",
            {"quick": 3},
            "unknown field `quick`; it takes atr_period, stop_atr, target_atr, fast",
        ),
        ("rsi_reversion", {"oversold": 70, "overbought": 30}, "oversold must be below overbought"),
        ("rsi_reversion", {"oversold": "nan"}, "for oversold"),
        ("rsi_reversion", {"exit": 75}, "exit must lie between oversold and overbought, not at 75.0"),
        ("donchian_breakout", {"exit_channel": 1}, "for exit_channel"),
        ("donchian_breakout", {"stop_atr": 0}, "for stop_atr"),
        ("donchian_breakout", {"target_atr": "inf"}, "for target_atr"),
    ],
)
def test_a_wrong_parameter_is_said_in_one_line(name, parameters, text):
    with pytest.raises(ValueError, match=re.escape(text)) as caught:
        load_strategy(name)("crypto", "BTC/USDT", "1h", "agent", **parameters)
    assert "\n" not in str(caught.value)


def test_parameters_may_be_text():
    strategy = load_strategy("ema_crossover")("crypto", "BTC/USDT", "1h", "agent", fast="5", stop_atr="1.5")
    assert (strategy.parameters.fast, strategy.parameters.stop_atr) == (5, 1.5)


@pytest.mark.parametrize(
    ("market", "text"),
    [
        (("bonds", "X", "1h"), "unknown ecosystem 'bonds'"),
        (("crypto", "BTC  USDT", "1h"), "symbol"),
        (("crypto", "x" * 65, "1h"), "symbol"),
        (("crypto", "", "1h"), "symbol"),
        (("crypto", "BTC", "1y"), "timeframe '1y'"),
        (("crypto", "BTC", "0m"), "timeframe '0m'"),
        (("crypto", "BTC", "9999999w"), "timeframe"),
    ],
)
def test_a_wrong_market_is_reported_in_one_line(market, text):
    ecosystem, symbol, timeframe = market
    with pytest.raises(ValueError, match=text):
        load_strategy("ema_crossover")(ecosystem, symbol, timeframe, "agent")


def test_ones_own_strategy_is_loaded_by_path():
    assert load_strategy("ecosystems.strategies.ema_crossover:EmaCrossover") is load_strategy("ema_crossover")


@pytest.mark.parametrize(
    "name",
    [
        "macd",
        "",
        ":",
        "no.such:Thing",
        "ecosystems.market.candles:Missing",
        "ecosystems.market.candles:Candle",
    ],
)
def test_what_is_no_strategy_is_said(name):
    with pytest.raises(ValueError, match="strategy"):
        load_strategy(name)


@pytest.mark.parametrize(
    ("ecosystem", "price", "step"),
    [
        ("forex", "1.07219", "0.00001"),
        ("forex", "110.123", "0.001"),
        ("stock", "792.89", "0.01"),
        ("stock", "0.5", "0.0001"),
        ("crypto", "43123.45", "0.001"),
        ("crypto", "0.0000000000123", "0.000000000000000001"),
    ],
)
def test_tick(ecosystem, price, step):
    assert tick(ecosystem, Decimal(price)) == Decimal(step)


def test_a_stop_below_zero_makes_no_signal():
    crash = [candle(i, 10, 11, 9, 10) for i in range(5)] + [candle(5, 10, 10, 0.1, 0.2)]
    strategy = load_strategy("donchian_breakout")("crypto", "A/B", "1h", "", channel=3, atr_period=2)
    assert signals(strategy, crash) == []  # the target of this SELL would be at -15


@pytest.mark.parametrize("ecosystem", ECOSYSTEMS)
@pytest.mark.parametrize(
    ("close", "risk"), [("1e60", 1.0), ("1", float("nan")), ("1", float("inf")), ("1", 1e60)]
)
def test_what_is_no_order_of_this_world_makes_no_signal(ecosystem, close, risk):
    class Daring(load_strategy("ema_crossover")):
        def decide(self, candle):  # noqa: ARG002
            return Decision(action="SELL", risk=risk, reward=0.5)

    assert signals(Daring(ecosystem, "A/B", "1h", ""), [candle(0, close, close, close, close)]) == []


@pytest.mark.parametrize("name", BUILT_IN)
def test_memory_stays_flat(name):
    strategy = load_strategy(name)("crypto", "A/B", "1m", "")
    candles = made_up("crypto", 7, "1m", 12_000)
    strategy.warm_up(candles[:2000])
    tracemalloc.start()
    try:
        strategy.warm_up(candles[2000:4000])
        early = tracemalloc.get_traced_memory()[0]
        strategy.warm_up(candles[4000:])
        assert tracemalloc.get_traced_memory()[0] - early < 50_000
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def long_file(tmp_path_factory):
    return write(tmp_path_factory.mktemp("replay") / "candles.csv", 100_000)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_hundred_thousand_candles_are_replayed_in_time(name, long_file):
    strategy = load_strategy(name)("crypto", "A/B", "1m", "")
    began = time.process_time()
    assert len(signals(strategy, CsvFeed(long_file).candles("A/B", "1m"))) > 1000
    assert time.process_time() - began < 10
