"""`manage.py consume_databases`: records the rows that agents inserted."""

from argparse import ArgumentParser
from typing import Any

from aggregator.management.hub_command import HubCommand, host


class Command(HubCommand):
    help = (
        "Record the rows that agents inserted into trading_signals, in the core database and in the "
        "ecosystems' own ones. Ends on SIGTERM after the batch under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="record what is there and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        done = host(["databases"], once=options["once"])
        self.stdout.write(f"{sum(done.values())} rows processed")
