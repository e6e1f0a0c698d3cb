"""The loop that scores calls. Any number of workers may run it, and any may be killed at any moment.

One transaction scores some calls of one instrument, whose row it locks: it takes requests, and writes
outcomes and events. New candles are a request for their instrument; late ones mark the outcomes that they
concern, which are then scored from t0 again. The ledger's lock is never taken.
"""

from bisect import bisect_left
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection, transaction

from aggregator.followers import Follower
from aggregator.ledger.errors import classified
from aggregator.models import PriceSeries
from aggregator.track_record import calls, sql
from ecosystems.market.candles import Candle
from ecosystems.market.scoring import UNDECIDED, Amendment, Call, Ending, Outcome, Score

MAX_CALLS = 2000
"""Calls of one transaction."""
MAX_REQUESTS = 5000
FIRST_CANDLES, PAGE_CANDLES = 64, 2048
"""Candles of the first page of a call, most of which need no more, and of the largest."""
MAX_STEPS = 500_000
"""Candles that one transaction looks at, counted for each call: a second or two."""
OUTLIER_SHARE = Decimal("0.2")
"""A candle that reaches farther from the close before it is called an outlier."""
RECHECK = timedelta(seconds=10)
"""How soon an instrument is looked at again that has candles which are not over yet."""
NO_VOLUME = Decimal(0)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DueCall(msgspec.Struct, gc=False):
    """A call that has to be scored, and what is known of it."""

    score: Score
    known: Outcome
    start: datetime
    """From when on candles have to be looked at."""
    position: int
    simulated: bool
    series_id: int | None
    chosen_series_id: int | None
    stale: str
    signal_id: str
    instrument: str
    made_up_feed: str | None
    """The made-up market that a synthetic call is about."""
    series: PriceSeries | None = None

    def has_changed(self, found: Outcome) -> bool:
        """Return whether something else was decided than is on record, or may have been."""
        facts = ("state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price")
        return bool(self.stale) or any(getattr(self.known, name) != getattr(found, name) for name in facts)


def _due_call(row: tuple[Any, ...]) -> DueCall:
    """Return a row of `sql.DUE_CALLS`, whose scoring goes on where it stopped unless it is stale."""
    own, call, (ended_at, ended_by) = row[:8], Call(*row[8:17]), row[17:19]
    known = Outcome(**dict(zip(sql.KNOWN_COLUMNS, row[19:], strict=True)))
    ending = Ending(ended_at, ended_by) if ended_at else None
    _, _, series_id, _, stale, *_ = own
    if stale or known.state not in UNDECIDED or known.scored_to is None:
        return DueCall(Score(call, ending=ending), known, call.t0, *own)
    score = Score(call, ending=ending, known=known, seen=series_id is not None)
    return DueCall(score, known, max(known.scored_to, call.t0), *own)


Spans = list[list[datetime]]
"""First and last moments."""

Row = dict[str, Any]
"""A row of `outcomes`, with the cause of the event that it leaves, if any."""


class Scorer(Follower):
    """Follows the ledger for calls, and scores them with the candles on record."""

    name = "outcomes"

    def apply(self, cursor: Any, after: int, upto: int) -> None:
        calls.take_in(cursor, after, upto)

    def run_once(self, *, wait: bool = False) -> int:
        """Take in some of the ledger and score some calls of one instrument; return how much was done."""
        done = super().run_once(wait=wait)
        with classified(), transaction.atomic(), connection.cursor() as cursor:
            for _ in range(2):  # the first look may do no more than find an instrument that is new
                cursor.execute(sql.NEXT_INSTRUMENT)
                if found := cursor.fetchone():
                    return done + 1 + InstrumentScoring(cursor, *found).run()
        return done


class InstrumentScoring:
    """The scoring of one instrument's calls in one transaction, which has locked it."""

    def __init__(self, cursor: Any, ecosystem: str, instrument: str, now: datetime) -> None:
        self.cursor = cursor
        self.now = now
        self.place: dict[str, Any] = {"ecosystem": ecosystem, "instrument": instrument}
        self._steps = 0
        self._look_at: datetime | None = None

    def run(self) -> int:
        """Score up to MAX_CALLS calls; return how many were."""
        self._take_requests()
        series = list(PriceSeries.objects.filter(**self.place).order_by("pk"))
        due = self._due(series)
        moved = [call.position for call in due if call.instrument != self.place["instrument"]]
        if moved:
            self._move(moved)
            due = [call for call in due if call.instrument == self.place["instrument"]]
        self._choose_series(due, series)
        results: list[Row] = []
        for _, group in groupby(sorted(due, key=_series_id), key=_series_id):
            results += self._score(list(group))
        self._write(results)
        more = len(due) + len(moved) == MAX_CALLS or len(results) < len(due)
        self.cursor.execute(
            sql.FINISH, {**self.place, "more": more, "look_at": self._look_at, "now": self.now}
        )
        return len(results) + len(moved)

    def _take_requests(self) -> None:
        """Take the requests into account: extend series, and mark what has to be scored from t0 again."""
        self.cursor.execute(sql.TAKE_REQUESTS, {**self.place, "limit": MAX_REQUESTS})
        for feed, seconds, agent, moved, spans in self.cursor.fetchall():
            if moved:
                self._move(moved)
            elif feed is not None:
                self._extend(feed, seconds, spans)
            elif spans:
                parameters = {"cause": "signals", "agent_source": agent}
                self._mark_stale(sql.STALE_BY_SIGNAL, spans, parameters)

    def _extend(self, feed: str, seconds: int, spans: Spans) -> None:
        """Note new candles of a feed, and mark the outcomes for which they come late."""
        priced_to = max(last_at for _, last_at in spans) + timedelta(seconds=seconds)
        key = {**self.place, "feed": feed, "seconds": seconds, "priced_to": priced_to}
        self.cursor.execute(sql.EXTEND_SERIES, key)
        series = PriceSeries(pk=self.cursor.fetchone()[0], feed=feed)
        parameters = {"cause": "late prices", "series": series.pk, "synthetic": series.is_synthetic}
        self._mark_stale(sql.STALE_BY_CANDLES, spans, parameters)

    def _mark_stale(self, statement: str, spans: Spans, parameters: dict[str, Any]) -> None:
        kept_since = datetime.min.replace(tzinfo=UTC)
        if (days := settings.ENVIRONMENT.keep_candles) is not None:
            kept_since = self.now - timedelta(days=days)
        for first_at, last_at in _merged(spans):
            span = {"first_at": first_at, "last_at": last_at, "kept_since": kept_since}
            self.cursor.execute(statement, {**self.place, **parameters, **span})

    def _move(self, positions: list[int]) -> None:
        """Move calls, and what ends them, to the instrument that the ledger has for them now."""
        self.cursor.execute(sql.MOVE, {**self.place, "positions": positions})

    def _due(self, series: list[PriceSeries]) -> list[DueCall]:
        """Return the calls that have to be scored, with their amendments."""
        if any(each.priced_to > self.now for each in series):
            self._look_at = self.now + RECHECK
        parameters = {
            **self.place,
            "now": self.now,
            "limit": MAX_CALLS,
            "priced_to": max((each.priced_to for each in series), default=None),
            "really_priced_to": max(
                (each.priced_to for each in series if not each.is_synthetic), default=None
            ),
        }
        self.cursor.execute(sql.DUE_CALLS, parameters)
        due = {row[0]: _due_call(row) for row in self.cursor.fetchall()}
        wanted = {"positions": list(due), "signal_ids": [call.signal_id for call in due.values()]}
        self.cursor.execute(sql.AMENDMENTS, wanted)
        for position, *amendment in self.cursor.fetchall():
            due[position].score.amend(Amendment(*amendment))
        return list(due.values())

    def _choose_series(self, due: list[DueCall], series: list[PriceSeries]) -> None:
        """Give each call the series that it is scored with: what it has, unless it is scored from t0."""
        by_id = {each.pk: each for each in series}
        open_to_choice = []
        for call in due:
            if call.chosen_series_id is not None:
                call.series = by_id.get(call.chosen_series_id)
            elif call.series_id is not None and not call.stale:
                call.series = by_id[call.series_id]
            else:
                open_to_choice.append(call)
        covering: dict[int, set[int]] = defaultdict(set)
        if open_to_choice and len(series) > 1:
            positions = [call.position for call in open_to_choice]
            self.cursor.execute(sql.COVERING, {"positions": positions, "now": self.now})
            for position, series_id in self.cursor.fetchall():
                covering[position].add(series_id)
        for call in open_to_choice:
            choices = [each for each in series if call.simulated or not each.is_synthetic]
            if own := call.made_up_feed:
                choices = [each for each in choices if each.feed == own or not each.is_synthetic]
                choices.sort(key=attrgetter("is_synthetic"), reverse=True)
            if len(series) > 1:
                choices = [each for each in choices if each.pk in covering[call.position]]
            call.series = choices[0] if choices else None

    def _score(self, due: list[DueCall]) -> list[Row]:
        """Score calls that have the same series; return the results of those that were reached."""
        due.sort(key=lambda call: call.start)
        series = due[0].series
        if series is None:
            return [self._result(call, None) for call in due]
        is_complete, reached = self._sweep(due, series)
        # Up to there nothing else was found, or not even a candle; one that is not over is still to come.
        until = series.priced_to if series.priced_to <= self.now else self.now - _length(series)
        return [self._result(call, until if is_complete else None) for call in reached]

    def _sweep(self, due: list[DueCall], series: PriceSeries) -> tuple[bool, list[DueCall]]:
        """Run calls, in the order of their starts, through the candles, a page at a time.

        Returns whether all were run to the end, and those that were run at all, which MAX_STEPS may limit.
        """
        begun, active = 0, list[DueCall]()
        since, limit = due[0].start, FIRST_CANDLES
        while active or begun < len(due):
            candles = self._page(series, since, limit)
            if not candles:
                return True, due
            times = [candle.timestamp for candle in candles]
            while begun < len(due) and due[begun].start <= times[-1]:
                active.append(due[begun])
                begun += 1
            active = [each for each in active if not self._run(each, candles, times, _length(series))]
            if len(candles) < limit:
                return True, due
            if self._steps >= MAX_STEPS:
                return False, due[:begun]
            since, limit = times[-1] + timedelta(microseconds=1), min(4 * limit, PAGE_CANDLES)
            if not active and begun < len(due):
                since, limit = max(since, due[begun].start), FIRST_CANDLES
        return True, due

    def _run(self, call: DueCall, candles: list[Candle], times: list[datetime], length: timedelta) -> bool:
        """Run a call through a page; return whether it is decided."""
        score, start = call.score, bisect_left(times, call.start)
        decided = score.run(candles, length, start)
        end = bisect_left(times, score.scored_to) if decided and score.scored_to else len(times)
        self._steps += max(end - start, 1)
        return decided

    def _page(self, series: PriceSeries, since: datetime, limit: int) -> list[Candle]:
        parameters = {
            **self.place,
            "feed": series.feed,
            "seconds": series.seconds,
            "since": since,
            "until": self.now - _length(series),
            "limit": limit,
        }
        self.cursor.execute(sql.CANDLES, parameters)
        return [
            Candle(_EPOCH + timedelta(microseconds=at), opening, high, low, close, NO_VOLUME)
            for at, opening, high, low, close in self.cursor.fetchall()
        ]

    def _result(self, call: DueCall, until: datetime | None) -> Row:
        found = call.score.outcome(self.now)
        scored_to = found.scored_to
        if found.state in UNDECIDED and until is not None:
            scored_to = max(scored_to or until, until)
        return msgspec.structs.asdict(found) | {
            "position": call.position,
            "series_id": call.series.pk if call.series and call.score.seen else None,
            "scored_to": scored_to,
            "cause": (call.stale or "prices") if call.has_changed(found) else "",
        }

    def _write(self, results: list[Row]) -> None:
        """Write outcomes and, last, under the lock that orders them, the events."""
        if not results:
            return
        self.cursor.execute(sql.WRITE, {"results": msgspec.json.encode(results).decode()})
        if changed := {result["position"]: result["cause"] for result in results if result["cause"]}:
            self.cursor.execute(sql.LOCK_EVENTS)
            events = {"positions": list(changed), "causes": list(changed.values())}
            self.cursor.execute(sql.ADD_EVENTS, events | {"outlier_share": OUTLIER_SHARE})


def _series_id(call: DueCall) -> int:
    return call.series.pk if call.series else 0


def _length(series: PriceSeries) -> timedelta:
    return timedelta(seconds=series.seconds)


def _merged(spans: Spans) -> Spans:
    """Return spans that do not overlap, of some that are in the order of their first moments."""
    merged: Spans = []
    for first_at, last_at in spans:
        if merged and first_at <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], last_at)
        else:
            merged.append([first_at, last_at])
    return merged
