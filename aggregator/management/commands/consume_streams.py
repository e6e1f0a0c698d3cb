"""`manage.py consume_streams`: the Redis Streams consumer in the foreground."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from aggregator import consuming
from aggregator.ingest.streams import StreamConsumer
from ecosystems.shutdown import stop_on_signals


class Command(BaseCommand):
    help = "Record the signals of the Redis streams. Ends on SIGTERM after the batch under way."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="drain the streams and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        environment = settings.ENVIRONMENT
        if not environment.redis_url:
            raise CommandError("CORE_REDIS_URL is not set: there are no streams to consume")
        environment.announce_bus()
        stop = stop_on_signals()
        consumer = StreamConsumer.from_environment(environment)
        try:
            settled = consuming.run(consumer, stop, once=options["once"], label="streams")
        except consuming.Misconfigured as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"{settled} entries settled")
