"""The command line of an agent, shared by `manage.py run_agent` and `python -m ecosystems.agent`."""

import logging
import re
import sys
import threading
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from ecosystems import ECOSYSTEMS, env
from ecosystems.agent.loop import Agent
from ecosystems.agent.preflight import failed_checks
from ecosystems.agent.progress import Progress
from ecosystems.bus import BusError, EventBus, Outbox
from ecosystems.bus.outbox import OUTBOX_FOLDER
from ecosystems.bus.transport import CONFIRMED, Entry, Fate, Transport
from ecosystems.market.candles import duration
from ecosystems.market.feed_choice import open_feed
from ecosystems.market.feeds import Feed, FeedError
from ecosystems.shutdown import stop_on_signals
from ecosystems.signal import is_agent_source
from ecosystems.strategies import BUILT_IN, Strategy, load_strategy

logger = logging.getLogger("signal_hub.agent")


class Misconfigured(Exception):
    """The agent cannot start as it is configured; the text is one line that says what to correct."""


def add_market_arguments(parser: ArgumentParser) -> None:
    """Add the market and the strategy, which a backtest takes as well."""
    parser.add_argument("ecosystem", choices=ECOSYSTEMS)
    parser.add_argument("--symbol", required=True, help="the market: BTC/USDT, EUR_USD, AAPL")
    parser.add_argument("--timeframe", required=True, help="length of a candle: 5m, 1h, 1d")
    parser.add_argument(
        "--strategy", default="ema_crossover", help=f"{', '.join(BUILT_IN)}, or package.module:Class"
    )
    parser.add_argument("--param", action="append", default=[], type=parameter, metavar="NAME=VALUE")


def add_arguments(parser: ArgumentParser) -> None:
    add_market_arguments(parser)
    parser.add_argument(
        "--feed", default="live", help="live (crypto: live:EXCHANGE), csv:PATH, synthetic or synthetic:SEED"
    )
    parser.add_argument(
        "--speed", type=speed, metavar="N", help="replay N times as fast as the market (default: at once)"
    )
    parser.add_argument("--agent", metavar="NAME", help="name in its signals (default: ECOSYSTEM-STRATEGY)")
    parser.add_argument("--once", action="store_true", help="handle the candles that have closed, then end")
    parser.add_argument("--dry-run", action="store_true", help="print signals instead of sending them")
    parser.add_argument(
        "--outbox",
        type=Path,
        metavar="PATH",
        help=f"(default: one of its own in {OUTBOX_FOLDER})",
    )
    parser.add_argument(
        "--catch-up",
        type=time_span,
        default=timedelta(days=1),
        metavar="TIME",
        help="after a restart, send the missed signals of this long, as 6h (default: 1d)",
    )
    parser.add_argument(
        "--heartbeat",
        type=time_span,
        default=timedelta(minutes=15),
        metavar="TIME",
        help="interval of heartbeats, as 5m; 0 for none (default: 15m; replays send none)",
    )


def parameter(text: str) -> tuple[str, str]:
    """Return name and value of `fast=12`."""
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentTypeError(f"invalid parameter {text!r}: write name=value, as in fast=12")
    return name, value


def speed(text: str) -> float:
    """Return a factor of the market's own speed."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,6})?", text) or float(text) == 0:
        raise ArgumentTypeError(f"invalid speed {text!r}: write a number above 0, as in 60")
    return float(text)


def time_span(text: str) -> timedelta:
    """Return a length of time, written like a timeframe or as 0."""
    try:
        return timedelta(0) if text == "0" else duration(text)
    except ValueError:
        raise ArgumentTypeError(f"invalid length of time {text!r}: write it like 90s, 15m, 6h, 2d") from None


def main(arguments: list[str] | None = None) -> int:
    """Run an agent without Django; return the exit status."""
    parser = ArgumentParser(prog="python -m ecosystems.agent", description=run.__doc__)
    add_arguments(parser)
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s %(message)s")
    sys.path.append("")  # strategies in the current folder, where an installed command does not look
    try:
        run(options)
    except Misconfigured as error:
        print(f"agent: {error}", file=sys.stderr)  # noqa: T201
        return 2
    return 0


def run(options: dict[str, Any]) -> None:
    """Run a trading agent until SIGTERM, or until its replay is over and delivered."""
    stop = stop_on_signals()
    try:
        environment = env.load()
        feed = open_feed(options["feed"], options["ecosystem"], environment)
        strategy = strategy_of(options, feed)
        with bus_of(options, environment, strategy, feed) as bus:
            work(options, strategy, feed, bus, stop)
    except (ValueError, FeedError, BusError, env.InvalidEnvironment) as error:
        raise Misconfigured(str(error)) from error


def strategy_of(options: dict[str, Any], feed: Feed) -> Strategy[Any]:
    """Return the strategy that the options describe. Raises ValueError with one line."""
    if options["speed"] is not None and options["feed"].startswith("live"):
        raise ValueError("--speed is for replays: a live feed has the market's own speed")
    strategy_class = load_strategy(options["strategy"])
    market = (options["ecosystem"], options["symbol"], options["timeframe"])
    name = options["agent"] or f"{options['ecosystem']}-{strategy_class.name}"
    if not (is_agent_source(name) and name.isprintable()):
        raise ValueError("--agent: a name has 1 to 128 printable characters")
    return strategy_class(*market, name, tags=feed.tags, **dict(options["param"]))


def bus_of(
    options: dict[str, Any], environment: env.Environment, strategy: Strategy[Any], feed: Feed
) -> EventBus:
    """Return the bus that the options describe. Raises Misconfigured where the hub refuses the agent."""
    if options["dry_run"]:
        return EventBus([PrintingTransport()])
    if is_finite(options):
        # Reads the first candle, so that an invalid file is reported before the checks of the network.
        next(feed.candles(strategy.symbol, strategy.timeframe, None), None)
    if failed := failed_checks(environment, options["ecosystem"]):
        raise Misconfigured(failed[0])
    outbox = options["outbox"] or OUTBOX_FOLDER / outbox_name(strategy)
    return EventBus.from_environment(environment, ecosystem=options["ecosystem"], outbox=outbox)


def outbox_name(strategy: Strategy[Any]) -> str:
    """Return the default name of an outbox: one for each agent, market and strategy."""
    parts = (strategy.agent, strategy.ecosystem, strategy.symbol, strategy.timeframe, strategy.name)
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(parts))[:200] + ".sqlite3"


def is_finite(options: dict[str, Any]) -> bool:
    """Return whether the feed ends by itself."""
    return bool(options["feed"].startswith("csv:"))


def work(
    options: dict[str, Any], strategy: Strategy[Any], feed: Feed, bus: EventBus, stop: threading.Event
) -> None:
    """Run the agent that the options describe, log what it did, and deliver that."""
    market = (strategy.agent, strategy.ecosystem, strategy.symbol, strategy.timeframe, options["feed"])
    path = Path(f"{bus.outbox.path}.progress") if bus.outbox else None
    finite = is_finite(options)
    agent = Agent(
        strategy,
        feed,
        bus,
        progress=Progress(path, *market, strategy.name, strategy.parameters),
        stop=stop,
        finite=finite,
        speed=options["speed"],
        catch_up=options["catch_up"],
        heartbeat=None if finite or options["once"] else options["heartbeat"] or None,
    )
    agent.start()
    if not stop.is_set():
        agent.run_once() if options["once"] else agent.run()
    logger.info("agent: %d candles gave %d signals", agent.handled, agent.signals)
    if bus.outbox is not None:
        drain(bus, bus.outbox, stop, wait=finite and not options["once"])


def drain(bus: EventBus, outbox: Outbox, stop: threading.Event, *, wait: bool) -> None:
    """Deliver what is in the outbox: with `wait` all of it, whatever time that takes, else in one try."""
    while wait and not stop.is_set() and bus.backlog():
        stop.wait(0.1)
    bus.flush(seconds=5.0)
    if left := sum(count for (_, state), count in outbox.counts().items() if state == "pending"):
        logger.warning("agent: %d signals wait in the outbox %s", left, outbox.path)


class PrintingTransport(Transport):
    """Prints signals, one a line of JSON."""

    name = "stdout"
    local = True

    def send(self, entries: Sequence[Entry]) -> list[Fate]:
        for entry in entries:
            print(entry.payload.decode(), flush=True)  # noqa: T201
        return [CONFIRMED] * len(entries)
