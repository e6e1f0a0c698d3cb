"""The statistics of an agent's calls, from the outcomes alone.

The database adds up what has a hundred thousand rows; what is left is a row a day and an instrument. A figure
that has too little behind it is None, and `absent` says why.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from aggregator.models import STATE_CHOICES, Outcome
from ecosystems.market import performance
from ecosystems.market.performance import MIN_SHARPE_CALLS, MIN_SHARPE_DAYS, Equity
from ecosystems.market.scoring import UNDECIDED

STATES = tuple(name for name, _ in STATE_CHOICES)
# All but `daily_r` are in the index `outcomes_statistics`.
_CALL_FIELDS = (
    "position", "instrument", "state", "entered_at", "exited_at", "net_return", "r_multiple", "slippage",
    "lag", "daily_r",
)  # fmt: skip

# One pass over the calls, and the rest over its sums. At the offset 0 a time is in UTC, too, and without a
# look-up of the name of a time zone, which takes longer than all else that gives its day.
SUMS = """
    WITH cells AS (
        SELECT state, instrument, (exited_at AT TIME ZONE interval '0')::date AS day, count(*) AS calls,
            count(*) FILTER (WHERE net_return > 0) AS wins, count(r_multiple) AS with_r,
            coalesce(sum(r_multiple), 0) AS r,
            coalesce(sum(r_multiple) FILTER (WHERE r_multiple > 0), 0) AS won,
            sum(exited_at - entered_at) AS held, count(slippage) AS slipped, sum(slippage) AS slippage,
            min(entered_at) AS entered_at, max(exited_at) AS exited_at
        FROM ({calls}) AS call GROUP BY 1, 2, 3)
    SELECT state, instrument, day, sum(calls)::bigint, sum(wins)::bigint, sum(with_r)::bigint, sum(r),
        sum(won), sum(held), sum(slipped)::bigint, sum(slippage), min(entered_at), max(exited_at)
    FROM cells GROUP BY GROUPING SETS ((state), (state, instrument), (state, day))
    HAVING GROUPING(day) = 1 OR day IS NOT NULL"""

MEDIANS = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY r_multiple::float8) FILTER (WHERE state = 'closed'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY lag)
    FROM ({calls}) AS call"""

# The calls that were entered first or left last on an instrument; without an exit those that are open. Prices
# are not in the index from which calls are read, so they are looked up for these few.
HOLDING = """
    SELECT call.instrument, position, call.entered_at = first_at, call.exited_at IS NOT DISTINCT FROM last_at,
        entry_price, fee_bps, last_close
    FROM ({calls}) AS call
    JOIN unnest(%s::text[], %s::timestamptz[], %s::timestamptz[]) AS edge (instrument, first_at, last_at)
        USING (instrument)
    JOIN outcomes USING (position)
    WHERE call.entered_at = first_at
        OR call.entered_at IS NOT NULL AND call.exited_at IS NOT DISTINCT FROM last_at"""

# What was held at the end of each day before the exit, or before the last close of an open call; and the open
# calls by the day of their last close, which they are valued at from then on.
HELD_BY_DAY = """
    SELECT (entered_at AT TIME ZONE interval '0')::date + number::integer - 1,
        coalesce(sum(r) FILTER (WHERE number <= marked), 0),
        coalesce(sum(r) FILTER (WHERE number > marked), 0)
    FROM (
        SELECT entered_at, daily_r AS marks, cardinality(daily_r) AS marked
        FROM ({decided}) AS call WHERE daily_r <> '{{}}'
        UNION ALL
        SELECT entered_at, daily_r || r_multiple, cardinality(daily_r) FROM ({undecided}) AS call
        WHERE state = 'open' AND r_multiple IS NOT NULL
        ) AS held
    CROSS JOIN LATERAL unnest(marks) WITH ORDINALITY AS mark (r, number) GROUP BY 1"""


@dataclass(frozen=True)
class Sums:
    """Sums over calls that have a state in common, and maybe an instrument or the day of their exit."""

    state: str
    instrument: str | None
    day: date | None
    calls: int
    wins: int
    with_r: int
    r: Decimal
    won: Decimal
    """The sum of R over those that gained."""
    held: timedelta | None
    slipped: int
    slippage: Decimal | None
    first_entry: datetime | None
    last_exit: datetime | None


NOTHING = Sums("", None, None, 0, 0, 0, Decimal(0), Decimal(0), None, 0, None, None, None)


@dataclass(frozen=True)
class Group:
    """The closed calls of one instrument or one month."""

    name: str
    closed: int
    wins: int
    total_r: Decimal
    mean_r: Decimal | None


@dataclass(frozen=True)
class Record:
    """The statistics of some calls."""

    states: dict[str, int]
    wins: int = 0
    win_rate_interval: tuple[float, float] | None = None
    mean_r: Decimal | None = None
    median_r: float | None = None
    profit_factor: float | None = None
    mean_holding: timedelta | None = None
    median_lag: timedelta | None = None
    mean_slippage: Decimal | None = None
    equity: Equity = field(default_factory=list)
    max_drawdown: Decimal = Decimal(0)
    sharpe: float | None = None
    holding_return: Decimal | None = None
    """What holding the instruments instead would have returned, as a mean over them."""
    by_instrument: list[Group] = field(default_factory=list)
    by_month: list[Group] = field(default_factory=list)
    """Closed calls by the month of their exit (UTC)."""

    @property
    def calls(self) -> int:
        return sum(self.states.values())

    @property
    def closed(self) -> int:
        return self.states["closed"]

    @property
    def win_rate(self) -> float | None:
        return self.wins / self.closed if self.closed else None

    @property
    def total_r(self) -> Decimal:
        """The equity at the end: closed calls, and open ones at their last close."""
        return self.equity[-1][1] if self.equity else Decimal(0)

    @property
    def absent(self) -> dict[str, str]:
        """Why a figure is not shown, by its name in the API."""
        days, closed = len(self.equity), self.closed
        reasons = {}
        if not self.calls:
            reasons["median_lag_seconds"] = "there is no call yet"
        if self.mean_slippage is None:
            reasons["mean_slippage"] = "no market order that named a price was filled"
        if self.holding_return is None:
            reasons["holding_return"] = "no call was filled yet"
        if not closed:
            figures = ("win_rate", "win_rate_interval", "mean_holding_seconds")
            reasons |= dict.fromkeys(figures, "no call is closed yet")
        if self.mean_r is None:
            reasons |= dict.fromkeys(("mean_r", "median_r"), "no closed call had a stop")
        if self.profit_factor is None:
            reasons["profit_factor"] = "no closed call lost"
        if days < MIN_SHARPE_DAYS or closed < MIN_SHARPE_CALLS:
            needed = f"from {MIN_SHARPE_DAYS} days and {MIN_SHARPE_CALLS} closed calls on"
            reasons["sharpe"] = f"{needed}; there are {days} and {closed}"
        elif self.sharpe is None:
            reasons["sharpe"] = "the equity has not moved"
        return reasons


def record_of(calls: QuerySet[Outcome], ecosystem: str) -> Record:
    """Return the statistics of outcomes of one ecosystem: real ones, or simulated ones, never both."""
    sums = [Sums(*row) for row in _query(SUMS, calls)]
    ((median_r, median_lag),) = _query(MEDIANS, calls)
    by_state = {each.state: each for each in sums if each.instrument is None and each.day is None}
    closed = by_state.get("closed", NOTHING)
    days = {each.day: each for each in sums if each.day}
    settled = defaultdict(Decimal, {day: each.r for day, each in days.items() if each.with_r})
    held: dict[date, Decimal] = {}
    for day, held_r, open_r in _query(HELD_BY_DAY, calls):
        held[day] = held_r
        settled[day] += open_r
    equity = performance.daily_equity(settled, held)
    lost = closed.won - closed.r
    slipped = sum(each.slipped for each in by_state.values())
    slippage = sum((each.slippage or Decimal(0) for each in by_state.values()), Decimal(0))
    return Record(
        states={name: by_state.get(name, NOTHING).calls for name in STATES},
        wins=closed.wins,
        win_rate_interval=performance.wilson_interval(closed.wins, closed.calls),
        mean_r=closed.r / closed.with_r if closed.with_r else None,
        median_r=median_r,
        profit_factor=float(closed.won / lost) if lost else None,
        mean_holding=closed.held / closed.calls if closed.held is not None else None,
        median_lag=median_lag,
        mean_slippage=slippage / slipped if slipped else None,
        equity=equity,
        max_drawdown=max(performance.falls(equity), default=Decimal(0)),
        sharpe=performance.sharpe_ratio(equity, closed.calls, ecosystem),
        holding_return=_holding_return(calls, [each for each in sums if each.instrument]),
        by_instrument=_groups((each.instrument, each) for each in sums if each.state == "closed"),
        by_month=_groups((f"{day:%Y-%m}", each) for day, each in days.items()),
    )


def _groups(named: Iterable[tuple[str | None, Sums]]) -> list[Group]:
    """Return the closed calls of each instrument or month; what has no name is of none."""
    found: dict[str, list[Sums]] = defaultdict(list)
    for name, sums in named:
        if name is not None:
            found[name].append(sums)
    groups = []
    for name, some in sorted(found.items()):
        total, with_r = sum((each.r for each in some), Decimal(0)), sum(each.with_r for each in some)
        calls, wins = sum(each.calls for each in some), sum(each.wins for each in some)
        groups.append(Group(name, calls, wins, total, total / with_r if with_r else None))
    return groups


def _holding_return(calls: QuerySet[Outcome], sums: list[Sums]) -> Decimal | None:
    """Return the mean over instruments of holding each from the first entry to the last price."""
    first: dict[str, datetime] = {}
    last: dict[str, datetime | None] = {}
    for each in sums:
        if each.instrument and each.first_entry:
            first[each.instrument] = min(each.first_entry, first.get(each.instrument, each.first_entry))
            last[each.instrument] = each.last_exit if each.instrument not in last else None
    edges = [list(first), list(first.values()), list(last.values())]
    bought: dict[str, tuple[Decimal, Decimal]] = {}
    sold: dict[str, Decimal] = {}
    for instrument, _, is_first, is_last, entry, fee_bps, close in sorted(_query(HOLDING, calls, *edges)):
        if is_first:  # at the same moment, the one that was recorded first
            bought.setdefault(instrument, (entry, fee_bps))
        if is_last:
            sold[instrument] = close
    returns = [
        (sold[name] - entry - fee_bps / 10_000 * (entry + sold[name])) / entry
        for name, (entry, fee_bps) in bought.items()
    ]
    return sum(returns, Decimal(0)) / len(returns) if returns else None


def _query(statement: str, calls: QuerySet[Outcome], *more: Any) -> list[tuple[Any, ...]]:
    """Run a statement over some outcomes; `more` are its parameters after those of the calls.

    Decided calls are selected apart from the others, since each index for statistics has one or the other.
    """
    parts = calls.exclude(state__in=UNDECIDED), calls.filter(state__in=UNDECIDED)
    queries = [part.order_by().values(*_CALL_FIELDS).query.sql_with_params() for part in parts]
    (decided, decided_parameters), (undecided, undecided_parameters) = queries
    both = f"{decided} UNION ALL {undecided}"
    sql = statement.format(calls=both, decided=decided, undecided=undecided)
    with connection.cursor() as cursor:
        cursor.execute(sql, [*decided_parameters, *undecided_parameters, *more])
        return list(cursor.fetchall())
