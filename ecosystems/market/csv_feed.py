"""Candles of a CSV file, replayed at once or paced."""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ecosystems.market.candles import Candle, duration
from ecosystems.market.feeds import REPLAY, FeedError
from ecosystems.signal import MAX_DECIMALS, MAX_PRICE

HEADER = ["timestamp", "open", "high", "low", "close", "volume"]
FIRST_CANDLES = 100
MIN_PRICE = Decimal(1).scaleb(-MAX_DECIMALS)
"""As of signals: figures of prices within it and MAX_PRICE fit into the digits that scoring keeps."""


def paced(
    candles: Iterable[Candle], timeframe: str, speed: float, wait: Callable[[float], object]
) -> Iterator[Candle]:
    """Yield candles `speed` times as fast as the market made them; without waiting for gaps."""
    pause = duration(timeframe).total_seconds() / speed
    for candle in candles:
        wait(pause)
        yield candle


class CsvFeed:
    """Candles of a CSV file: a header `timestamp,open,high,low,close,volume`, one market, oldest first.

    Times are ISO 8601, in UTC where they give no offset, and are those at which the candles opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tags: tuple[str, ...] = (REPLAY,)

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:  # noqa: ARG002
        """Yield the file's candles from `since` on; the file is one market's, so `symbol` decides nothing.

        Raises FeedError, with the number of a faulty line, and ValueError for an invalid timeframe.
        """
        length = duration(timeframe)
        closest, count = timedelta.max, 0
        last: datetime | None = None
        for count, (number, row) in enumerate(self._rows(), start=1):
            try:
                candle = _candle(row)
                if last is not None:
                    closest = min(closest, _distance(last, candle.timestamp))
                # Nights and weekends leave gaps, so candles may be far apart, but not all of the first ones.
                if closest < length or (closest > length and count == FIRST_CANDLES):
                    raise ValueError(f"the candles are {closest} apart, so the timeframe is not {timeframe}")
            except ValueError as error:
                raise FeedError(f"{self.path}, line {number}: {error}") from error
            last = candle.timestamp
            if since is None or candle.timestamp >= since:
                yield candle
        if not count:
            raise FeedError(f"{self.path} holds no candles")

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        try:
            # Spreadsheets put a byte order mark before the header, hence the -sig.
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.reader(file)
                if next(reader, []) != HEADER:
                    raise FeedError(f"{self.path}, line 1: the header must be {','.join(HEADER)}")
                for row in reader:
                    yield reader.line_num, row
        except OSError as error:
            raise FeedError(f"{self.path} cannot be read: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise FeedError(f"{self.path} is not a CSV file in UTF-8: {error}") from error


def _candle(row: list[str]) -> Candle:
    """Return the candle of a row; ValueError says what is wrong with it."""
    if len(row) != len(HEADER):
        raise ValueError(f"{len(row)} fields, not {len(HEADER)}")
    try:
        at = datetime.fromisoformat(row[0])
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"timestamp {row[0][:40]!r} is not an ISO 8601 time") from None
    try:
        opening, high, low, close, volume = map(Decimal, row[1:])
        # A NaN raises in these comparisons, as text that is not a number does in Decimal.
        sound = MIN_PRICE <= low <= opening <= high < MAX_PRICE and low <= close <= high and volume >= 0
    except InvalidOperation:
        raise ValueError("a price or the volume is not a number") from None
    if not sound or not volume.is_finite():
        raise ValueError("prices must be above 0, below 1e18 and between low and high, the volume 0 or more")
    return Candle(at, opening, high, low, close, volume)


def _distance(last: datetime, at: datetime) -> timedelta:
    """Return the time between two candles. Raises ValueError if the second cannot follow the first."""
    if at <= last:
        raise ValueError(f"{at.isoformat()} is not later than the candle before it")
    return at - last
