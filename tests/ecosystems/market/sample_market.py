"""Candles for tests: the real ones beside the project, and made-up ones."""

import itertools
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ecosystems.market.candles import Candle, duration
from ecosystems.market.csv_feed import CsvFeed
from ecosystems.market.synthetic_feed import SyntheticFeed
from ecosystems.strategies import load_strategy

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
START = datetime(2024, 1, 1, tzinfo=UTC)

REAL = {
    "ETH_BTC-5m.csv": ("crypto", "ETH/BTC", "5m"),
    "EUR_USD-1h.csv": ("forex", "EUR_USD", "1h"),
    "GOOG-1d.csv": ("stock", "GOOG", "1d"),
}


def real_candles(name):
    """Return the candles of a file of real ones; skip the test where the files are not there."""
    path = DATA / name
    if not path.exists():
        pytest.skip(f"real candles are absent: no {name} in shared/data beside the project")
    _, symbol, timeframe = REAL[name]
    return list(CsvFeed(path).candles(symbol, timeframe))


def made_up(ecosystem, seed, timeframe, count):
    """Return `count` candles of the synthetic market."""
    feed = SyntheticFeed(ecosystem, seed, clock=lambda: START + count * duration(timeframe))
    return list(feed.candles("MADE/UP", timeframe, START))


def write(path, count):
    """Write made-up candles to a CSV file and return its path: the same 5,000 again and again."""
    candles = itertools.cycle(made_up("crypto", 8, "1m", min(count, 5000)))  # each takes longer than a replay
    rows = (
        f"{(START + number * duration('1m')).isoformat()},{c.open},{c.high},{c.low},{c.close},{c.volume}\n"
        for number, c in enumerate(itertools.islice(candles, count))
    )
    path.write_text("timestamp,open,high,low,close,volume\n" + "".join(rows))
    return path


def replay_ids(path, agent="crypto-ema_crossover") -> list[str]:
    """Return the ids that a replay of such a file gives to an agent of that name, by the strategy alone."""
    strategy = load_strategy("ema_crossover")("crypto", "MADE/UP", "1m", agent, fast=3, slow=6)
    candles = list(CsvFeed(path).candles("MADE/UP", "1m"))
    strategy.warm_up(candles[: strategy.history])
    signals = (strategy.on_candle(candle) for candle in candles[strategy.history :])
    return [signal.signal_id for signal in signals if signal]


def candle(index, opening, high, low, close, timeframe="1h"):
    """Return one candle by hand, the `index`th of its market."""
    opening, high, low, close = (Decimal(str(price)) for price in (opening, high, low, close))
    return Candle(START + index * duration(timeframe), opening, high, low, close, Decimal(1))
