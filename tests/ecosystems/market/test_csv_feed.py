"""Replayed candles: what a CSV file may hold, and what is said of one that is wrong."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ecosystems.market.candles import Candle
from ecosystems.market.csv_feed import CsvFeed, paced
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError
from ecosystems.market.synthetic_feed import SyntheticFeed
from tests.ecosystems.market.sample_market import REAL, made_up, real_candles

HEADER = "timestamp,open,high,low,close,volume\n"
FIRST = "2024-01-01T00:00:00Z,1,2,0.5,1.5,10\n"


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "candles.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return CsvFeed(path)

    return write


def read(feed, timeframe="1h", since=None):
    return list(feed.candles("A/B", timeframe, since))


def test_rows_become_candles(write):
    rows = (
        FIRST + "2024-01-01 01:00,1.5,1.50000000000000001,1.5,1.5,0\r\n2024-01-01T04:00:00+02:00,2,2,2,2,1\n"
    )
    first, second, third = read(write("\ufeff" + HEADER + rows))
    assert first == Candle(
        datetime(2024, 1, 1, tzinfo=UTC), Decimal(1), Decimal(2), Decimal("0.5"), Decimal("1.5"), Decimal(10)
    )
    assert second.high == Decimal("1.50000000000000001")
    assert [c.timestamp.hour for c in (first, second, third)] == [0, 1, 2]
    assert all(c.timestamp.tzinfo is UTC for c in (first, second, third))


def test_since_is_the_first_candle(write):
    feed = write(HEADER + FIRST + "2024-01-01T01:00:00Z,1,1,1,1,1\n")
    assert [c.timestamp.hour for c in read(feed, since=datetime(2024, 1, 1, 1, tzinfo=UTC))] == [1]


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ("2024-01-01T01:00:00Z,1,1,1,1", "line 3: 5 fields, not 6"),
        ("", "line 3: 0 fields, not 6"),
        ("yesterday,1,1,1,1,1", "line 3: timestamp 'yesterday' is not an ISO 8601 time"),
        ("1704070800,1,1,1,1,1", "line 3: timestamp"),
        ("0001-01-01T00:00+05:00,1,1,1,1,1", "line 3: timestamp '0001-01-01T00:00+05:00' is not"),
        ("2024-01-01T01:00:00Z,1,1,1,one,1", "line 3: a price or the volume is not a number"),
        ("2024-01-01T01:00:00Z,1,NaN,1,1,1", "line 3: a price or the volume is not a number"),
        ("2024-01-01T01:00:00Z,1,1,1,1,NaN", "line 3: a price or the volume is not a number"),
        ("2024-01-01T01:00:00Z,1,Infinity,1,1,1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1,1,1,Infinity", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,0,1,0,1,1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1,1,2,1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1,1.1,1,1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1,1,1,-1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1e18,1,1,1", "line 3: prices must be"),
        ("2024-01-01T01:00:00Z,1,1,1e-41,1,1", "line 3: prices must be"),
        ("2024-01-01T00:00:00Z,1,1,1,1,1", "line 3: 2024-01-01T00:00:00+00:00 is not later"),
        (
            "2024-01-01T00:05:00Z,1,1,1,1,1",
            "line 3: the candles are 0:05:00 apart, so the timeframe is not 1h",
        ),
    ],
)
def test_a_bad_row_is_named(write, row, text):
    with pytest.raises(FeedError, match=re.escape(text)) as caught:
        read(write(HEADER + FIRST + row + "\n"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("", "line 1: the header must be timestamp,open,high,low,close,volume"),
        ("time,o,h,l,c,v\n" + FIRST, "line 1: the header"),
        (HEADER, "holds no candles"),
        (b"\xff\xfe\x00", "is not a CSV file in UTF-8"),
        (HEADER + '"' + "x" * 200_000, "is not a CSV file in UTF-8"),
    ],
)
def test_a_bad_file_is_named(write, content, text):
    with pytest.raises(FeedError, match=re.escape(text)):
        read(write(content))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FeedError, match=r"none\.csv cannot be read: No such file"):
        read(CsvFeed(tmp_path / "none.csv"))


def test_a_file_of_longer_candles_is_noticed(write):
    rows = "".join(f"{c.timestamp.isoformat()},1,1,1,1,1\n" for c in made_up("crypto", 1, "5m", 200))
    assert len(read(write(HEADER + rows), "5m")) == 200
    with pytest.raises(
        FeedError, match="line 101: the candles are 0:05:00 apart, so the timeframe is not 1m"
    ):
        read(write(HEADER + rows), "1m")


@pytest.mark.parametrize("file", REAL)
def test_real_files_are_read(file):
    assert len(real_candles(file)) > 2000


def test_feeds_by_name(tmp_path):
    feed = open_feed(f"csv:{tmp_path}/a:b.csv", "crypto")
    assert isinstance(feed, CsvFeed)
    assert feed.path == tmp_path / "a:b.csv"
    assert isinstance(open_feed("synthetic", "forex"), SyntheticFeed)
    assert open_feed("synthetic:7", "stock").tags == ("synthetic", "synthetic:7")


@pytest.mark.parametrize("spec", ["", "csv", "csv:", "live", "synthetic:x", "synthetic:-1"])
def test_a_wrong_feed_is_named(spec):
    with pytest.raises(FeedError, match="it may be csv:PATH, synthetic or synthetic:SEED"):
        open_feed(spec, "crypto")


def test_pace():
    waits: list[float] = []
    candles = made_up("crypto", 1, "5m", 3)
    assert list(paced(candles, "5m", 10, waits.append)) == candles
    assert waits == [30.0, 30.0, 30.0]


def test_synthetic_candles_do_not_depend_on_where_they_begin():
    long = made_up("crypto", 1, "5m", 100)
    end = long[-1].timestamp + timedelta(minutes=5, seconds=30)
    feed = SyntheticFeed("crypto", 1, clock=lambda: end)
    assert read_synthetic(feed, "5m", long[40].timestamp) == long[40:]
    assert read_synthetic(feed, "5m", long[40].timestamp - timedelta(seconds=1)) == long[40:]
    assert len(read_synthetic(feed, "5m", None)) == 1000


def test_synthetic_candles_of_other_lengths_agree():
    minutes, fives = made_up("crypto", 1, "1m", 500), made_up("crypto", 1, "5m", 100)
    assert [c.open for c in fives] == [c.open for c in minutes[::5]]
    assert [c.close for c in fives] == [c.close for c in minutes[4::5]]


def test_synthetic_markets_differ_by_seed_and_are_sound():
    markets = [
        made_up(ecosystem, seed, "1h", 500) for seed in (1, 2) for ecosystem in ("crypto", "forex", "stock")
    ]
    assert len({market[0].close for market in markets}) == 6
    for market in markets:
        assert all(0 < c.low <= min(c.open, c.close) <= max(c.open, c.close) <= c.high for c in market)
        assert all(c.volume > 0 for c in market)
        assert len({c.close for c in market}) > 400


def read_synthetic(feed, timeframe, since):
    return list(feed.candles("MADE/UP", timeframe, since))
