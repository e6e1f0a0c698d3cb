"""`manage.py watch`: the alerts, for hubs that run without Celery workers."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from aggregator.alerts.watcher import AlertWatcher
from ecosystems.shutdown import stop_on_signals


class Command(BaseCommand):
    help = "Look for what is wrong and alert the operator. Celery workers do that by themselves."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="look once and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        settings.ENVIRONMENT.announce_bus()
        watcher = AlertWatcher()
        if options["once"]:
            watcher.run_once()
            watcher.close()
        else:
            watcher.run(stop_on_signals())
