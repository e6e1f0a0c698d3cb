"""`manage.py backtest`: a strategy's signals and results on past candles."""

from argparse import ArgumentTypeError
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import ECOSYSTEMS
from ecosystems.agent import equity_plot
from ecosystems.agent.backtest import Backtest
from ecosystems.agent.command_line import parameter
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import FeedError
from ecosystems.signal import Signal
from ecosystems.strategies import BUILT_IN, load_strategy


def fee(text: str) -> Decimal:
    """Return the share of the price that a fill costs."""
    try:
        share = Decimal(text)
    except InvalidOperation:
        share = Decimal("NaN")
    if not share.is_finite() or not 0 <= share < 1:
        raise ArgumentTypeError(f"invalid fee {text!r}: write a share from 0 to below 1; 0.1 % is 0.001")
    return share


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
        parser.add_argument("ecosystem", choices=ECOSYSTEMS)
        parser.add_argument("--feed", required=True, help="csv:PATH, synthetic or synthetic:SEED")
        parser.add_argument("--symbol", required=True, help="the market, as the agent writes it: BTC/USDT")
        parser.add_argument("--timeframe", required=True, help="length of a candle: 5m, 1h, 1d")
        parser.add_argument(
            "--strategy", default="ema_crossover", help=f"{', '.join(BUILT_IN)}, or package.module:Class"
        )
        parser.add_argument("--param", action="append", default=[], type=parameter, metavar="NAME=VALUE")
        parser.add_argument("--since", type=moment, help="first candle, as 2024-01-31T00:00Z")
        parser.add_argument(
            "--fee", type=fee, default=Decimal("0.001"), help="share of the price each fill costs (0.001)"
        )
        parser.add_argument("--plot", type=Path, metavar="PNG", help="write the equity to this picture")

    def handle(self, **options: Any) -> None:
        try:
            self.run(options)
        except (ValueError, FeedError, equity_plot.PlotError) as error:
            raise CommandError(str(error), returncode=2) from error

    def run(self, options: dict[str, Any]) -> None:
        """Run the backtest; raises ValueError, FeedError or PlotError with a line for the operator."""
        feed = open_feed(options["feed"], options["ecosystem"])
        market = (options["ecosystem"], options["symbol"], options["timeframe"])
        strategy = load_strategy(options["strategy"])(
            *market, "backtest", tags=feed.tags, **dict(options["param"])
        )
        if options["plot"]:
            equity_plot.check(options["plot"])
        backtest = Backtest(strategy, options["fee"])
        for candle in feed.candles(options["symbol"], options["timeframe"], options["since"]):
            signal = backtest.step(candle)
            if signal is not None and options["verbosity"]:
                self.stdout.write(signal_line(signal))
        backtest.finish()
        self.stdout.write(figures(backtest))
        if options["plot"]:
            title = f"{strategy.name} on {options['symbol']} {options['timeframe']} ({', '.join(feed.tags)})"
            equity_plot.write(backtest, title, options["plot"])
            self.stdout.write(f"plot         {options['plot']}")


def signal_line(signal: Signal) -> str:
    """Return a signal as a line of text."""
    return (
        f"{signal.timestamp:%Y-%m-%dT%H:%M:%SZ} {signal.action:4} {signal.symbol} entry {signal.entry_price}"
        f" stop {signal.stop_loss} target {signal.take_profit} confidence {signal.confidence}"
    )


def figures(backtest: Backtest) -> str:
    """Return the results of a backtest, a figure a line."""
    trades = backtest.trades
    endings = ", ".join(
        f"{count} {reason}"
        for reason in ("stop", "target", "reversal", "end")
        if (count := sum(trade.reason == reason for trade in trades))
    )
    rows = {
        "candles": backtest.candles,
        "trades": f"{len(trades)} ({endings})" if trades else "0",
        "skipped": backtest.skipped,
        "fee": f"{100 * backtest.fee:f} % a fill",
        "hit rate": "-" if backtest.hit_rate is None else f"{100 * backtest.hit_rate:.1f} %",
        "average R": "-" if backtest.average_r is None else f"{backtest.average_r:+.3f}",
        "drawdown": f"{100 * backtest.drawdown:.2f} %",
        "return": f"{100 * (backtest.equity - 1):+.2f} %",
    }
    return "\n".join(f"{name:12} {value}" for name, value in rows.items())
