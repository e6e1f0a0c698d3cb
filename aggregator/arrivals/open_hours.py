"""Open time: hours in which a market is closed do not make an agent late."""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from ecosystems.market import calendars


class OpenTime:
    """How long one market was open since `start`, up to any moment before `end`."""

    def __init__(self, ecosystem: str, start: datetime, end: datetime) -> None:
        self._open = calendars.is_market_open(ecosystem, start)
        self._marks = [start.astimezone(UTC)]
        change = calendars.next_market_change(ecosystem, start)
        while change is not None and change < end:
            self._marks.append(change)
            change = calendars.next_market_change(ecosystem, change)
        self._end, self._changes_at = end, change
        self._passed = [timedelta()]
        for number, (before, after) in enumerate(pairwise(self._marks)):
            self._passed.append(self._passed[-1] + (after - before if self._is_open(number) else timedelta()))

    def until(self, moment: datetime) -> timedelta:
        """Return how long the market was open from `start` to `moment`; nothing for one before `start`."""
        if moment <= self._marks[0]:
            return timedelta()
        number = bisect_right(self._marks, moment) - 1
        since = moment - self._marks[number] if self._is_open(number) else timedelta()
        return self._passed[number] + since

    def between(self, first: datetime, last: datetime) -> timedelta:
        """Return how long the market was open from `first` to `last`, both after `start`."""
        return self.until(last) - self.until(first)

    def is_closed_or_just_opened(self, grace: timedelta) -> bool:
        """Return whether the market is closed at `end`, or opened less than `grace` before it.

        The grace is at most half of the session, so that an agent that sends less than once a session can be
        late too.
        """
        if not self._is_open(len(self._marks) - 1):
            return True
        opened_at = self._marks[-1]
        if self._changes_at is not None:
            grace = min(grace, (self._changes_at - opened_at) / 2)
        return self._end - opened_at < grace

    def _is_open(self, number: int) -> bool:
        """Return whether the market is open between mark `number` and the next: it changes at each."""
        return self._open == (number % 2 == 0)
