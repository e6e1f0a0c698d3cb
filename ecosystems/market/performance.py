"""Statistics of many outcomes, for backtests and track records alike.

They are those of `empyrical` and `quantstats` where these define the same. A figure that has too little
behind it is None.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from itertools import accumulate, islice, pairwise
from math import sqrt
from statistics import fmean, stdev

from ecosystems.market.scoring import Outcome

DAYS_A_YEAR = {"crypto": 365, "forex": 252, "stock": 252}
"""Days of a year by which a Sharpe ratio is annualized."""
MIN_SHARPE_DAYS = 60
MIN_SHARPE_CALLS = 30
Z_95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""

Equity = list[tuple[date, Decimal]]
"""The sum of R at the end of each UTC day, without gaps."""


def profit_factor(gains: Iterable[Decimal]) -> float | None:
    """Return the sum of what was gained over the sum of what was lost; None where nothing was lost."""
    won, lost = Decimal(0), Decimal(0)
    for gain in gains:
        if gain > 0:
            won += gain
        else:
            lost -= gain
    return float(won / lost) if lost else None


def wilson_interval(wins: int, count: int) -> tuple[float, float] | None:
    """Return the bounds between which a share lies with 95 % confidence, by Wilson; None for no sample."""
    if not count:
        return None
    share, weight = wins / count, Z_95**2 / count
    middle = share + weight / 2
    margin = Z_95 * sqrt(share * (1 - share) / count + weight / (4 * count))
    return max(0.0, (middle - margin) / (1 + weight)), min(1.0, (middle + margin) / (1 + weight))


def daily_equity(settled: Mapping[date, Decimal], held: Mapping[date, Decimal]) -> Equity:
    """Return the equity from the first day to the last.

    `settled` is the R of what was closed on a day, and of what is open and has its last close on it, which it
    is valued at from then on. `held` is that of what was open at the end of a day before.
    """
    days = settled.keys() | held.keys()
    if not days:
        return []
    equity, total, day, last = [], Decimal(0), min(days), max(days)
    while day <= last:
        total += settled.get(day, Decimal(0))
        equity.append((day, total + held.get(day, Decimal(0))))
        day += timedelta(days=1)
    return equity


def equity_of(outcomes: Iterable[Outcome]) -> Equity:
    """Return the daily equity of outcomes, open ones valued at their last close."""
    settled: dict[date, Decimal] = defaultdict(Decimal)
    held: dict[date, Decimal] = defaultdict(Decimal)
    for outcome in outcomes:
        if outcome.r_multiple is None or outcome.entered_at is None:
            continue
        day = outcome.entered_at.date()
        for value in outcome.daily_r:
            held[day] += value
            day += timedelta(days=1)
        settled[day] += outcome.r_multiple
    return daily_equity(settled, held)


def falls(equity: Equity) -> list[Decimal]:
    """Return how far the equity, which starts at 0, lies below its highest on each day."""
    values = [value for _, value in equity]
    peaks = accumulate(values, max, initial=Decimal(0))
    return [peak - value for peak, value in zip(islice(peaks, 1, None), values, strict=True)]


def sharpe_ratio(equity: Equity, calls: int, ecosystem: str) -> float | None:
    """Return the annualized ratio of mean to deviation of daily changes; None from too few days or calls."""
    if len(equity) < MIN_SHARPE_DAYS or calls < MIN_SHARPE_CALLS:
        return None
    values = [Decimal(0), *(value for _, value in equity)]
    changes = [float(after - before) for before, after in pairwise(values)]
    deviation = stdev(changes)
    return fmean(changes) / deviation * sqrt(DAYS_A_YEAR[ecosystem]) if deviation else None
