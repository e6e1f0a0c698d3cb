"""`manage.py consume_databases`: records the rows that agents inserted."""

import threading
from argparse import ArgumentParser
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from aggregator import consuming
from aggregator.ingest import databases
from ecosystems.shutdown import stop_on_signals


class Command(BaseCommand):
    help = (
        "Record the rows that agents inserted into trading_signals, in the core database and in the "
        "ecosystems' own ones. Ends on SIGTERM after the batch under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="record what is there and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        settings.ENVIRONMENT.announce_bus()
        stop = stop_on_signals()
        # A thread each: a database that is down must not hold up the others.
        with ThreadPoolExecutor() as pool:
            settled = [
                pool.submit(self.consume, consumer, stop, options["once"])
                for consumer in databases.database_consumers()
            ]
        self.stdout.write(f"{sum(future.result() for future in settled)} rows settled")

    def consume(self, consumer: databases.DatabaseConsumer, stop: threading.Event, once: bool) -> int:
        """Run one consumer; where it crashes, the others stop too and the command fails."""
        label = f"database:{consumer.alias}"
        try:
            return consuming.run(
                consumer, stop, once=once, idle_s=databases.DATABASE_POLL_INTERVAL_S, label=label
            )
        except BaseException:
            stop.set()
            raise
