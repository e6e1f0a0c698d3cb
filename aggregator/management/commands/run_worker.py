"""`manage.py run_worker`: everything a hub does beside answering requests, without Celery."""

from argparse import ArgumentParser
from typing import Any

from aggregator.management.hub_command import HubCommand, host


class Command(HubCommand):
    help = (
        "Do everything a hub does beside answering requests: read the streams, record inserted rows, watch "
        "and alert, send webhooks, run periodic jobs. Any number may run. Ends on SIGTERM after the work "
        "under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--only", metavar="NAME,…", default="", help="the loops to run; by default all")
        parser.add_argument("--once", action="store_true", help="run until nothing is left to do, then exit")

    def handle(self, *args: Any, **options: Any) -> None:
        only = [name for name in options["only"].replace(" ", "").split(",") if name]
        done = host(only, once=options["once"])
        self.stdout.write(", ".join(f"{name} {count}" for name, count in done.items()))
