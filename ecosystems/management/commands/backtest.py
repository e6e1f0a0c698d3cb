"""`manage.py backtest`: a strategy's signals and results on past candles."""

import re
from argparse import ArgumentTypeError
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems.agent.backtest import Backtest
from ecosystems.agent.command_line import add_market_arguments
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError
from ecosystems.market.scoring import RULE_VERSION
from ecosystems.signal import Signal
from ecosystems.strategies import load_strategy


def fee(text: str) -> Decimal:
    """Return the share of the price that a fill costs."""
    try:
        share = Decimal(text)
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite() or not 0 <= share < 1:
        raise ArgumentTypeError(f"invalid fee {text!r}: write a share from 0 to below 1; 0.1 % is 0.001")
    return share


def horizon(text: str) -> Decimal:
    """Return a number of hours."""
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,4})?", text) or Decimal(text) == 0:
        raise ArgumentTypeError(f"invalid horizon {text!r}: write a number of hours above 0, as in 720")
    return Decimal(text)


def moment(text: str) -> datetime:
    """Return an ISO 8601 time, in UTC where it gives no offset."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid time {text!r}: write it like 2024-01-31T00:00Z") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


class Command(BaseCommand):
    help = "Run a strategy over past candles: its signals, hit rate, average R, drawdown and return."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_market_arguments(parser)
        parser.add_argument("--feed", required=True, help="csv:PATH, synthetic or synthetic:SEED")
        parser.add_argument("--since", type=moment, help="first candle, as 2024-01-31T00:00Z")
        parser.add_argument(
            "--fee",
            type=fee,
            help="share of the price each fill costs (crypto 0.001, forex 0.0001, stock 0.0002)",
        )
        parser.add_argument(
            "--horizon",
            type=horizon,
            metavar="HOURS",
            help="hours of open market after which a position is closed (crypto 720, forex 504, stock 136.5)",
        )
        parser.add_argument("--plot", type=Path, metavar="PNG", help="write the equity to this picture")

    def handle(self, **options: Any) -> None:
        try:
            self.run(options)
        except (ValueError, FeedError) as error:
            raise CommandError(str(error), returncode=2) from error

    def run(self, options: dict[str, Any]) -> None:
        """Run the backtest; raises ValueError or FeedError with a line for the operator."""
        feed = open_feed(options["feed"], options["ecosystem"])
        market = (options["ecosystem"], options["symbol"], options["timeframe"])
        strategy = load_strategy(options["strategy"])(
            *market, "backtest", tags=feed.tags, **dict(options["param"])
        )
        if options["plot"]:
            check_plot(options["plot"])
        fee_bps = None if options["fee"] is None else 10_000 * options["fee"]
        backtest = Backtest(strategy, fee_bps=fee_bps, horizon_hours=options["horizon"])
        for candle in feed.candles(options["symbol"], options["timeframe"], options["since"]):
            signal = backtest.step(candle)
            if signal is not None and options["verbosity"]:
                self.stdout.write(signal_line(signal))
        backtest.finish()
        self.stdout.write(figures(backtest))
        if options["plot"]:
            title = f"{strategy.name} on {options['symbol']} {options['timeframe']} ({', '.join(feed.tags)})"
            write_plot(backtest, title, options["plot"])
            self.stdout.write(f"plot           {options['plot']}")


def signal_line(signal: Signal) -> str:
    """Return a signal as a line of text."""
    figures = {
        "refers to": signal.refers_to,
        "entry": signal.entry_price,
        "stop": signal.stop_loss,
        "target": signal.take_profit,
        "confidence": signal.confidence,
    }
    known = "".join(f" {name} {value}" for name, value in figures.items() if value is not None)
    return f"{signal.timestamp:%Y-%m-%dT%H:%M:%SZ} {signal.action:5} {signal.symbol}{known}"


def figures(backtest: Backtest) -> str:
    """Return the results of a backtest, a figure a line."""
    trades = backtest.trades
    endings = ", ".join(
        f"{count} {reason}" for reason, count in Counter(t.reason for t in trades).most_common()
    )
    rows = {
        "rules": f"the track record's, version {RULE_VERSION}: fills, stops, targets, time stop",
        "candles": backtest.candles,
        "trades": f"{len(trades)} ({endings})" if trades else "0",
        "skipped": backtest.skipped,
        "fee": f"{(backtest.fee_bps / 100).normalize():f} % a fill",
        "time stop": f"after {backtest.horizon_hours:f} hours of open market",
        "hit rate": _percent(backtest.hit_rate, 1),
        "average R": _number(backtest.average_r, "+.3f"),
        "profit factor": _number(backtest.profit_factor, ".2f"),
        "Sharpe": _number(backtest.sharpe, ".2f", "- (from 60 days and 30 closed trades on)"),
        "exposure": _percent(backtest.exposure, 1),
        "drawdown": _percent(backtest.drawdown, 2),
        "return": _percent(backtest.equity - 1, 2, "+"),
        "buy and hold": _percent(backtest.buy_and_hold, 2, "+"),
    }
    return "\n".join(f"{name:14} {value}" for name, value in rows.items())


def _percent(share: Decimal | None, places: int, sign: str = "") -> str:
    return "-" if share is None else f"{100 * share:{sign}.{places}f} %"


def _number(value: Decimal | float | None, form: str, absent: str = "-") -> str:
    return absent if value is None else f"{value:{form}}"


def check_plot(path: Path) -> None:
    """Raise ValueError unless `write_plot` can make a PNG at `path`, before a long run."""
    try:
        import matplotlib  # noqa: F401 - only a backtest with a picture needs it
    except ImportError as error:
        raise ValueError("a plot needs matplotlib: pip install matplotlib") from error
    if path.suffix.lower() != ".png":
        raise ValueError(f"{path} is not a PNG: choose a name that ends in .png")
    if not path.parent.is_dir():
        raise ValueError(f"{path.parent} is not a directory: create it first")


def write_plot(backtest: Backtest, title: str, path: Path) -> None:
    """Draw equity (1 at the start) and the fall from its peak over time as a PNG. Raises ValueError."""
    from matplotlib.figure import Figure  # not pyplot, which keeps every figure and may need a display

    times = [at for at, _ in backtest.curve]
    equity = [float(value) for _, value in backtest.curve]
    figure = Figure(figsize=(10, 6), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    upper.plot(times, equity, linewidth=1.2)
    upper.axhline(1, color="grey", linewidth=0.6)
    upper.set_title(title)
    upper.set_ylabel("equity (start = 1)")
    lower.fill_between(times, drawdowns(equity), 0, alpha=0.5, color="firebrick", linewidth=0)
    lower.set_ylabel("drawdown (%)")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.autofmt_xdate()
    try:
        figure.savefig(path, dpi=100, format="png")
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def drawdowns(equity: list[float]) -> list[float]:
    """Return how far below its peak so far each value is, in per cent, as numbers of 0 and less."""
    peaks = accumulate(equity, max)
    return [100 * (value / peak - 1) for value, peak in zip(equity, peaks, strict=True)]
