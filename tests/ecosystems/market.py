"""Candles for tests: the real ones beside the project, and made-up ones."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from ecosystems.candle import Candle, duration
from ecosystems.replay import CsvFeed
from ecosystems.synthetic import SyntheticFeed

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
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


def candle(index, opening, high, low, close, timeframe="1h"):
    """Return one candle by hand, the `index`th of its market."""
    opening, high, low, close = (Decimal(str(price)) for price in (opening, high, low, close))
    return Candle(START + index * duration(timeframe), opening, high, low, close, Decimal(1))
