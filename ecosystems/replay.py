"""Candles without a live market: a CSV file replayed, paced or not, and the choice between such feeds."""

import csv
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path

from ecosystems.candle import Candle, Feed, FeedError, duration
from ecosystems.synthetic import SyntheticFeed

HEADER = ["timestamp", "open", "high", "low", "close", "volume"]


def open_feed(spec: str, ecosystem: str) -> Feed:
    """Return the feed that `--feed` names: `csv:PATH`, `synthetic` or `synthetic:SEED`. Raises FeedError."""
    kind, _, rest = spec.partition(":")
    if kind == "csv" and rest:
        return CsvFeed(Path(rest))
    if kind == "synthetic" and (not rest or rest.isdecimal()):
        return SyntheticFeed(ecosystem, int(rest or 0))
    raise FeedError(f"feed {spec!r} is none of csv:PATH, synthetic and synthetic:SEED")


def paced(
    candles: Iterable[Candle], timeframe: str, speed: float, wait: Callable[[float], object] = time.sleep
) -> Iterator[Candle]:
    """Yield candles `speed` times as fast as the market made them; gaps are not waited out."""
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
        self.tags: tuple[str, ...] = ("replay",)

    def candles(self, symbol: str, timeframe: str, since: datetime | None = None) -> Iterator[Candle]:  # noqa: ARG002
        """Yield the file's candles from `since` on; the file is one market's, so `symbol` decides nothing.

        Raises FeedError, with the line's number where it is a line's fault, and ValueError for a timeframe
        that is none.
        """
        length = duration(timeframe)
        last: datetime | None = None
        for number, row in self._rows():
            try:
                candle = _candle(row)
                _check_order(last, candle.timestamp, length, timeframe)
            except ValueError as error:
                raise FeedError(f"{self.path}, line {number}: {error}") from error
            last = candle.timestamp
            if since is None or last >= since:
                yield candle
        if last is None:
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
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FeedError(f"{self.path} cannot be read: {error}") from error


def _candle(row: list[str]) -> Candle:
    """Return the candle of a row; ValueError says what is wrong with it."""
    if len(row) != len(HEADER):
        raise ValueError(f"{len(row)} fields, not {len(HEADER)}")
    try:
        at = datetime.fromisoformat(row[0])
    except ValueError:
        raise ValueError(f"timestamp {row[0][:40]!r} is no ISO 8601 time") from None
    try:
        opening, high, low, close, volume = map(Decimal, row[1:])
        # A NaN raises in these comparisons, like text that is no number.
        sound = 0 < low <= opening <= high and low <= close <= high and volume >= 0
    except InvalidOperation:
        raise ValueError("a price or the volume is no number") from None
    if not sound or not high.is_finite() or not volume.is_finite():
        raise ValueError("prices must be above 0 and between low and high, the volume 0 or more")
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    return Candle(at, opening, high, low, close, volume)


def _check_order(last: datetime | None, at: datetime, length: timedelta, timeframe: str) -> None:
    if last is None or at - last >= length:
        return
    if at <= last:
        raise ValueError(f"{at.isoformat()} is not later than the candle before it")
    raise ValueError(f"{at - last} after the candle before it, so the timeframe is not {timeframe}")
