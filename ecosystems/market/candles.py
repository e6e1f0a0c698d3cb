"""Candles: what feeds deliver and strategies read."""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol

import msgspec

UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
LONGEST = timedelta(weeks=52)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """A closed candle; `timestamp` is the UTC time at which it opened, as ccxt, OANDA and Alpaca give it."""

    timestamp: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


class FeedError(Exception):
    """Market data cannot be had or read; the text is one line that says what and how to mend it."""


class Feed(Protocol):
    """A source of candles."""

    tags: tuple[str, ...]
    """What every signal that the feed leads to is tagged with, `synthetic` for one."""

    def candles(self, symbol: str, timeframe: str, since: datetime | None) -> Iterator[Candle]:
        """Yield the closed candles that opened at `since` (aware) or later, oldest first, each once.

        Without `since`, from as far back as the feed goes by default. Raises FeedError.
        """


def duration(timeframe: str) -> timedelta:
    """Return the length of a candle: `5m`, `1h`, `1d`. Raises ValueError with a line for the operator.

    ccxt's notation; its month (`1M`) is left out, for months differ in length.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", timeframe)
    if match is None or (length := int(match[1]) * UNITS[match[2]]) > LONGEST:
        raise ValueError(
            f"timeframe {timeframe!r} is none: write a number and s, m, h, d or w, as in 5m or 1h"
        )
    return length
