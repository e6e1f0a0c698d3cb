"""The statistics of outcomes by pandas, scipy and empyrical, from the rows of the table alone.

Where empyrical defines the same as the rules, it computes: the Sharpe ratio, and the profit factor, which is
the omega ratio of the calls' R at a threshold of 0. Its drawdown and its total return are those of a capital
that compounds, while R is added up: they are the same on the logarithm, so it is given the returns whose
logarithms the changes of R are. Its Sortino and Calmar ratios, its annual return and volatility have no
counterpart: they need a capital, which a record of calls in R does not have.
"""

import warnings

import empyrical
import numpy as np
import pandas as pd
from scipy.stats import binomtest

DAYS_A_YEAR = {"crypto": 365, "forex": 252, "stock": 252}
SCALE = 1e-3
"""Of R, so that its exponentials keep their digits."""


def daily_changes(rows):
    """Return by how much the sum of R changed each UTC day, open calls at their last close from then on."""
    settled, held = [], []
    for row in rows.itertuples():
        day = row.entered_at.floor("D")
        held += [(day + pd.Timedelta(days=number), float(value)) for number, value in enumerate(row.daily_r)]
        settled.append((day + pd.Timedelta(days=len(row.daily_r)), float(row.r_multiple)))
    realized, marked = (
        pd.DataFrame(each, columns=["day", "r"]).groupby("day")["r"].sum() for each in (settled, held)
    )
    days = realized.index.union(marked.index)
    days = pd.date_range(days.min(), days.max(), freq="D")
    equity = realized.reindex(days, fill_value=0.0).cumsum() + marked.reindex(days, fill_value=0.0)
    return equity.diff().fillna(equity.iloc[0])


def additive(function, changes):
    """Return what a function of compounding returns is of changes that are added up."""
    return float(np.log1p(function(np.expm1(changes * SCALE))) / SCALE)


def figures(rows):
    """Return the statistics of outcomes of one ecosystem, by the names of the hub's API."""
    table = pd.DataFrame(rows)
    closed = table[table["state"] == "closed"]
    with_r = table[table["r_multiple"].notna()]
    r = closed["r_multiple"].dropna().astype(float)
    changes = daily_changes(with_r)
    wins = int((closed["net_return"].astype(float) > 0).sum())
    interval = binomtest(wins, len(closed)).proportion_ci(0.95, method="wilson")
    ecosystem = table["ecosystem"].iloc[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "win_rate": wins / len(closed),
            "low": interval.low,
            "high": interval.high,
            "mean_r": r.mean(),
            "median_r": r.median(),
            "profit_factor": empyrical.omega_ratio(r, 0.0, 0.0, annualization=1),
            "total_r": additive(empyrical.cum_returns_final, changes),
            "max_drawdown_r": -additive(empyrical.max_drawdown, changes),
            "sharpe": empyrical.sharpe_ratio(changes, annualization=DAYS_A_YEAR[ecosystem]),
            "mean_holding": (closed["exited_at"] - closed["entered_at"]).mean().total_seconds(),
            "median_lag": table["lag"].median().total_seconds(),
            "mean_slippage": table["slippage"].dropna().astype(float).mean(),
            "holding_return": holding_return(table[table["entered_at"].notna()]),
            **grouped(closed, closed["instrument"]),
            **grouped(closed, closed["exited_at"].dt.strftime("%Y-%m")),
        }


def holding_return(entered):
    """Return what holding each instrument from the first entry to the last price would have returned."""
    first = entered.sort_values(["entered_at", "position"]).groupby("instrument").first()
    last = entered.sort_values(["exited_at", "position"], na_position="last").groupby("instrument").nth(-1)
    bought = first["entry_price"].astype(float)
    sold = last.set_index("instrument")["last_close"].astype(float)
    fees = first["fee_bps"].astype(float) / 10_000 * (bought + sold)
    return float(((sold - bought - fees) / bought).mean())


GROUP = ("closed", "wins", "total_r", "mean_r")


def grouped(closed, key):
    r = closed["r_multiple"].astype(float).groupby(key)
    wins = (closed["net_return"].astype(float) > 0).groupby(key)
    columns = dict(zip(GROUP, (r.size(), wins.sum(), r.sum(), r.mean()), strict=True))
    return {f"{group} {name}": value for name, of in columns.items() for group, value in of.items()}


def ours(record):
    """Return the hub's statistics in the same form."""
    low, high = record.win_rate_interval
    groups = {
        f"{group.name} {name}": float(getattr(group, name))
        for group in [*record.by_instrument, *record.by_month]
        for name in GROUP
    }
    return groups | {
        "win_rate": record.win_rate,
        "low": low,
        "high": high,
        "mean_r": float(record.mean_r),
        "median_r": record.median_r,
        "profit_factor": record.profit_factor,
        "total_r": float(record.total_r),
        "max_drawdown_r": float(record.max_drawdown),
        "sharpe": record.sharpe,
        "mean_holding": record.mean_holding.total_seconds(),
        "median_lag": record.median_lag.total_seconds(),
        "mean_slippage": None if record.mean_slippage is None else float(record.mean_slippage),
        "holding_return": float(record.holding_return),
    }
