"""`manage.py consume_streams`: the Redis Streams consumer in the foreground."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from aggregator.management.hub_command import HubCommand, host


class Command(HubCommand):
    help = "Record the signals of the Redis streams. Ends on SIGTERM after the batch under way."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="drain the streams and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.ENVIRONMENT.redis_url:
            raise CommandError("CORE_REDIS_URL is not set: there are no streams to consume")
        done = host(["streams"], once=options["once"])
        self.stdout.write(f"{sum(done.values())} entries processed")
