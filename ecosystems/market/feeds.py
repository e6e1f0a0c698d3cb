"""The interface of a source of candles, and its errors."""

from collections.abc import Iterator
from datetime import datetime
from typing import Protocol

from ecosystems.market.candles import Candle

REPLAY = "replay"
SYNTHETIC = "synthetic"


class FeedError(Exception):
    """Candles cannot be fetched or read; the text is one line that says what is wrong and what to do."""


class FeedOutage(FeedError):
    """The service cannot answer now, and may later; `after` is the wait in seconds that it asked for."""

    def __init__(self, text: str, after: float | None = None) -> None:
        super().__init__(text)
        self.after = after


class Feed(Protocol):
    """A source of candles."""

    tags: tuple[str, ...]
    """Tags of every signal that is made from the feed: REPLAY of history, SYNTHETIC of made-up prices."""

    def candles(self, symbol: str, timeframe: str, since: datetime | None) -> Iterator[Candle]:
        """Yield the closed candles that opened at `since` (aware) or later, oldest first, each once.

        Without `since`, from as far back as the feed goes by default. Raises FeedError, FeedOutage for what
        may pass, and ValueError for an invalid timeframe.
        """
