"""The statistics of an agent's calls, from the outcomes alone.

The database adds up what has a hundred thousand rows; what is left is a row a day. A figure that has too
little behind it is None, and `absent` says why.
"""

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from aggregator.models import STATE_CHOICES, Outcome
from ecosystems.market import performance
from ecosystems.market.performance import MIN_SHARPE_CALLS, MIN_SHARPE_DAYS, Equity

STATES = tuple(name for name, _ in STATE_CHOICES)
_CALL_FIELDS = (
    "ecosystem",
    "instrument",
    "state",
    "entered_at",
    "entry_price",
    "exited_at",
    "net_return",
    "r_multiple",
    "slippage",
    "lag",
    "daily_r",
    "last_close",
    "fee_bps",
)

SUMMARY = """
    SELECT {states},
        count(*) FILTER (WHERE state = 'closed' AND net_return > 0),
        count(r_multiple) FILTER (WHERE state = 'closed'),
        avg(r_multiple) FILTER (WHERE state = 'closed'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY r_multiple::float8) FILTER (WHERE state = 'closed'),
        coalesce(sum(r_multiple) FILTER (WHERE state = 'closed' AND r_multiple > 0), 0),
        coalesce(-sum(r_multiple) FILTER (WHERE state = 'closed' AND r_multiple < 0), 0),
        avg(exited_at - entered_at) FILTER (WHERE state = 'closed'),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY lag),
        avg(slippage)
    FROM ({calls}) AS call"""

DAYS = """
    SELECT day, is_closed, sum(r) FROM (
        SELECT CASE state WHEN 'closed' THEN exited_at
            ELSE entered_at + cardinality(daily_r) * interval '1 day' END AT TIME ZONE 'UTC' AS at,
            state = 'closed' AS is_closed, r_multiple AS r
        FROM ({calls}) AS call WHERE r_multiple IS NOT NULL
        UNION ALL
        SELECT (entered_at AT TIME ZONE 'UTC') + (number - 1) * interval '1 day', false, held
        FROM ({calls}) AS call CROSS JOIN LATERAL unnest(daily_r) WITH ORDINALITY AS mark (held, number)
        WHERE cardinality(daily_r) > 0) AS part
    CROSS JOIN LATERAL (SELECT at::date AS day) AS of GROUP BY 1, 2"""

GROUPS = """
    SELECT {key}, count(*), count(*) FILTER (WHERE net_return > 0), coalesce(sum(r_multiple), 0),
        avg(r_multiple)
    FROM ({calls}) AS call WHERE state = 'closed' GROUP BY 1 ORDER BY 1"""

MONTH = "to_char(exited_at AT TIME ZONE 'UTC', 'YYYY-MM')"

# From the first entry on each instrument to its last price, as the call that has it.
HOLDING = """
    SELECT avg((last.price - first.price - fee_bps / 10000 * (first.price + last.price)) / first.price)
    FROM (
        SELECT DISTINCT ON (instrument) ecosystem, instrument, entry_price AS price,
            fee_bps FROM ({calls}) AS call
        WHERE entered_at IS NOT NULL ORDER BY instrument, entered_at) AS first
    JOIN (
        SELECT DISTINCT ON (instrument) instrument, last_close AS price FROM ({calls}) AS call
        WHERE entered_at IS NOT NULL ORDER BY instrument, coalesce(exited_at, 'infinity') DESC) AS last
        USING (instrument)"""


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
    with_r: int = 0
    """Closed calls that had a stop, and so an R."""
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
    absent: dict[str, str] = field(default_factory=dict)

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


def record_of(calls: QuerySet[Outcome], ecosystem: str) -> Record:
    """Return the statistics of outcomes of one ecosystem: real ones, or simulated ones, never both."""
    states = ", ".join(f"count(*) FILTER (WHERE state = '{name}')" for name in STATES)
    (row,) = _query(SUMMARY, calls, states=states)
    counts, figures = row[: len(STATES)], row[len(STATES) :]
    wins, with_r, mean_r, median_r, won, lost, holding, lag, slippage = figures
    by_state = dict(zip(STATES, counts, strict=True))
    equity = daily_equity_of(calls)
    sharpe = performance.sharpe_ratio(performance.daily_changes(equity), by_state["closed"], ecosystem)
    ((holding_return,),) = _query(HOLDING, calls)
    return Record(
        states=by_state,
        wins=wins,
        with_r=with_r,
        win_rate_interval=performance.wilson_interval(wins, by_state["closed"]),
        mean_r=mean_r,
        median_r=median_r,
        profit_factor=float(won / lost) if lost else None,
        mean_holding=holding,
        median_lag=lag,
        mean_slippage=slippage,
        equity=equity,
        max_drawdown=performance.max_drawdown(equity),
        sharpe=sharpe,
        holding_return=holding_return,
        absent=_absent(by_state["closed"], with_r, bool(lost), len(equity), sharpe),
    )


def daily_equity_of(calls: QuerySet[Outcome]) -> Equity:
    """Return the sum of R at the end of each day."""
    closed: dict[date, Decimal] = {}
    held: dict[date, Decimal] = {}
    for day, is_closed, total in _query(DAYS, calls):
        (closed if is_closed else held)[day] = total
    return performance.daily_equity(closed, held)


def by_instrument(calls: QuerySet[Outcome]) -> list[Group]:
    """Return the closed calls of each instrument."""
    return [Group(*row) for row in _query(GROUPS, calls, key="instrument")]


def by_month(calls: QuerySet[Outcome]) -> list[Group]:
    """Return the calls that were closed in each month (UTC)."""
    return [Group(*row) for row in _query(GROUPS, calls, key=MONTH)]


def _absent(closed: int, with_r: int, has_losses: bool, days: int, sharpe: float | None) -> dict[str, str]:
    """Return why a figure is not shown, by its name."""
    reasons = {}
    if not closed:
        reasons["win_rate"] = "no call is closed yet"
    if not with_r:
        reasons["mean_r"] = "no closed call had a stop"
    if not has_losses:
        reasons["profit_factor"] = "no closed call lost"
    if days < MIN_SHARPE_DAYS or closed < MIN_SHARPE_CALLS:
        needed = f"from {MIN_SHARPE_DAYS} days and {MIN_SHARPE_CALLS} closed calls on"
        reasons["sharpe"] = f"{needed}; there are {days} and {closed}"
    elif sharpe is None:
        reasons["sharpe"] = "the equity has not moved"
    return reasons


def _query(statement: str, calls: QuerySet[Outcome], **parts: str) -> list[tuple[Any, ...]]:
    """Run a statement over some outcomes, which may stand in it several times."""
    sql, parameters = calls.order_by().values(*_CALL_FIELDS).query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement.format(calls=sql, **parts), parameters * statement.count("{calls}"))
        return list(cursor.fetchall())
