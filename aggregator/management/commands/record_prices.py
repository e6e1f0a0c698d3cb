"""`manage.py record_prices`: candles of the instruments that have calls."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import CommandError

from aggregator import worker
from aggregator.management.hub_command import HubCommand, host
from aggregator.track_record.recorder import CsvRecorder
from ecosystems.market.feeds import FeedError
from ecosystems.shutdown import stop_on_signals


class Command(HubCommand):
    help = (
        "Record prices of every instrument that has a call waiting or open, and of those that are pinned. "
        "Any number may run. Ends on SIGTERM after the request under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--feed",
            default="live",
            help="live, or csv:DIR: a folder of files such as BTC_USDT-1m.csv, as agents replay them",
        )
        parser.add_argument("--once", action="store_true", help="record what is there now and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        kind, _, folder = options["feed"].partition(":")
        if kind == "csv" and folder:
            done = self._record_files(folder, once=options["once"])
            self.stdout.write(f"{done} candles recorded")
        elif options["feed"] == "live":
            done = sum(host(["prices"], once=options["once"]).values())
            self.stdout.write(f"{done} instruments looked at")
        else:
            raise CommandError(f"invalid feed {options['feed']!r}: it may be live or csv:DIR")

    def _record_files(self, folder: str, *, once: bool) -> int:
        try:
            CsvRecorder(folder)
            loops = {"prices:csv": partial(CsvRecorder, folder)}
            return sum(worker.Worker(loops, stop_on_signals(), once=once).run().values())
        except (FeedError, worker.LoopFailed) as error:
            raise CommandError(str(error)) from error
