"""Open time: hours in which a market is closed do not make an agent late."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ecosystems.market import calendars


class OpenTime:
    """How long one market was open since `start`, up to any moment before `end`."""

    def __init__(self, ecosystem: str, start: datetime, end: datetime) -> None:
        was_open = calendars.is_market_open(ecosystem, start)
        self.marks = [start.astimezone(UTC)]
        """The start, and when the market opened or closed since."""
        change = calendars.next_market_change(ecosystem, start)
        while change is not None and change < end:
            self.marks.append(change)
            change = calendars.next_market_change(ecosystem, change)
        self._changes_at = change
        self.is_open = [was_open == (number % 2 == 0) for number in range(len(self.marks))]
        """Whether it was open after each mark."""
        self.passed = [timedelta()]
        """How long it was open until each mark."""
        for is_open, (before, after) in zip(self.is_open, pairwise(self.marks), strict=False):
            self.passed.append(self.passed[-1] + (after - before if is_open else timedelta()))

    def until(self, moment: datetime) -> timedelta:
        """Return how long the market was open from `start` to `moment`; nothing for one before `start`."""
        if moment <= self.marks[0]:
            return timedelta()
        number = bisect_right(self.marks, moment) - 1
        since = moment - self.marks[number] if self.is_open[number] else timedelta()
        return self.passed[number] + since

    @property
    def max_grace(self) -> timedelta | None:
        """How long after its opening the market explains a silence at most; None without a limit.

        It is half of the session, so that an agent that sends less than once a session can be late too.
        """
        return None if self._changes_at is None else (self._changes_at - self.marks[-1]) / 2
