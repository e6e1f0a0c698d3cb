"""`manage.py replay_record FOLDER`: strategies on candles of files, up to the record that becomes of it."""

import threading
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from django.conf import settings
from django.core.management.base import CommandError
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from aggregator import followers
from aggregator.arrivals.rollups import RollupFollower
from aggregator.ledger import Entry, record
from aggregator.ledger.generations import ledger_head
from aggregator.management.hub_command import HubCommand
from aggregator.models import Agent, FollowerCursor, Outcome, PricedInstrument, ScoringRequest
from aggregator.track_record import statistics
from aggregator.track_record.recorder import CsvRecorder
from aggregator.track_record.scorer import Scorer
from ecosystems.agent import loop
from ecosystems.agent.progress import Progress
from ecosystems.bus import EventBus, transport
from ecosystems.market.csv_feed import CsvFeed
from ecosystems.market.feeds import FeedError
from ecosystems.market.symbols import has_certain_name, instrument
from ecosystems.shutdown import stop_on_signals
from ecosystems.strategies import BUILT_IN, load_strategy

SENDER = "replay_record"
POLL_INTERVAL_S = 0.1


class Market(NamedTuple):
    """The market that a file has candles of."""

    path: Path
    ecosystem: str
    symbol: str
    timeframe: str


class LedgerTransport(transport.Transport):
    """Records signals at once: the hub itself replays them, so that no other transport is needed."""

    name = "ledger"
    local = True

    def send(self, entries: Sequence[transport.Entry]) -> list[transport.Fate]:
        """Record signals; those of an earlier replay are duplicates. Raises Outage."""
        left = [Entry(entry.payload, SENDER) for entry in entries]
        while left:
            results = record(left, "database")
            left = [entry for entry, result in zip(left, results, strict=True) if not result.is_final]
        return [transport.CONFIRMED] * len(entries)


class Command(HubCommand):
    help = (
        "Replay candles of files through strategies, score the calls, and say what became of them. The files "
        "are named as for record_prices: ETH_BTC-5m.csv. The calls are simulated: each is tagged as a replay."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path)
        parser.add_argument(
            "--strategy",
            action="append",
            metavar="NAME",
            help=f"may be given several times (default: {', '.join(BUILT_IN)})",
        )
        parser.add_argument(
            "--publish", action="store_true", help="publish the agents' records, marked as simulated"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        stop = stop_on_signals()
        try:
            recorder = CsvRecorder(str(options["folder"]))
            agents = [
                self._replay(market, strategy, stop)
                for market in markets(options["folder"])
                for strategy in options["strategy"] or BUILT_IN
            ]
        except (FeedError, ValueError) as error:
            raise CommandError(str(error)) from error
        instruments = {(agent.ecosystem, name) for agent, name in agents}
        decide(instruments, stop)  # prices are recorded of what has calls
        recorder.run_once()
        decide(instruments, stop)
        for agent, _ in agents:
            self._report(agent, publish=options["publish"])

    def _replay(self, market: Market, strategy_name: str, stop: threading.Event) -> tuple[Agent, str]:
        """Replay a file through a strategy; return the agent, which has no row yet, and its instrument."""
        feed = CsvFeed(market.path)
        name = f"{market.path.stem}-{strategy_name.rpartition(':')[2]}"
        strategy = load_strategy(strategy_name)(*market[1:], name, tags=feed.tags)
        bus = EventBus([LedgerTransport()])
        agent = loop.Agent(strategy, feed, bus, progress=Progress(None), stop=stop, finite=True)
        agent.start()
        agent.run()
        self.stdout.write(f"{name}: {agent.handled:,} candles gave {agent.signals:,} signals")
        return Agent(ecosystem=market.ecosystem, agent_source=name), instrument(*market[1:3])

    def _report(self, agent: Agent, *, publish: bool) -> None:
        """Print what became of an agent's calls, and where to see it."""
        key = {"ecosystem": agent.ecosystem, "agent_source": agent.agent_source}
        found = statistics.record_of(Outcome.objects.filter(**key, simulated=True), agent.ecosystem)
        states = ", ".join(f"{count:,} {state}" for state, count in found.states.items() if count)
        rate = "-" if found.win_rate is None else f"{100 * found.win_rate:.1f} %"
        figures = f"{found.calls:,} calls: {states or 'none'}; win rate {rate}, {found.total_r:+.2f} R"
        self.stdout.write(f"{agent.agent_source}: {figures}")
        rows = Agent.objects.filter(**key)
        if publish and rows.exists():
            rows.filter(published_at=None).update(published_at=timezone.now())
            self.stdout.write(f"  {settings.PUBLIC_ORIGIN}/record/{agent.ecosystem}/{agent.agent_source}")


def markets(folder: Path) -> Iterator[Market]:
    """Yield the market of each file. Raises ValueError for one whose name says no market."""
    files = sorted(folder.glob("*-*.csv"))
    if not files:
        raise ValueError(f"{folder} has no files such as BTC_USDT-1m.csv")
    for path in files:
        symbol, _, timeframe = path.stem.rpartition("-")
        # Crypto exchanges trade EUR/USD, too; a file of it is more likely forex.
        found = [name for name in ("forex", "crypto", "stock") if has_certain_name(name, symbol)]
        if not found:
            raise ValueError(f"{path.name}: {symbol} is not known as a symbol of any ecosystem")
        yield Market(path, found[0], symbol, timeframe)


def decide(instruments: set[tuple[str, str]], stop: threading.Event) -> None:
    """Score what was recorded, alone or beside the worker, until nothing is left of these instruments."""
    head, rollups, scorer = ledger_head(), RollupFollower(), Scorer()
    for follower in (rollups, scorer):
        followers.create(follower.name)
    behind = FollowerCursor.objects.filter(name__in=[rollups.name, scorer.name], position__lt=head)
    place = Q()
    for ecosystem, name in instruments:
        place |= Q(ecosystem=ecosystem, instrument=name)
    requested = ScoringRequest.objects.filter(place)
    due = PricedInstrument.objects.filter(place, score_at__lte=Now())
    while not stop.is_set() and (behind.exists() or requested.exists() or due.exists()):
        if not rollups.run_once() + scorer.run_once():
            stop.wait(POLL_INTERVAL_S)
