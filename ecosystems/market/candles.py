"""Candles, which feeds deliver and strategies read, and the notation of their length."""

import re
from datetime import datetime, timedelta
from decimal import Decimal

import msgspec

TIMEFRAME_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
MAX_TIMEFRAME = timedelta(weeks=52)


class Candle(msgspec.Struct, frozen=True, gc=False):
    """A closed candle; `timestamp` is the UTC time at which it opened, as in ccxt, OANDA and Alpaca."""

    timestamp: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal


def duration(timeframe: str) -> timedelta:
    """Return the length of a candle: `5m`, `1h`, `1d`. Raises ValueError with a line for the operator.

    ccxt's notation; its month (`1M`) is left out, because months differ in length.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,6})([smhdw])", timeframe)
    if match is None or (length := int(match[1]) * TIMEFRAME_UNITS[match[2]]) > MAX_TIMEFRAME:
        raise ValueError(
            f"invalid timeframe {timeframe!r}: write a number and s, m, h, d or w, as in 5m or 1h"
        )
    return length
