"""`manage.py tend_commerce`: the periodic work of commerce, for hubs that run without Celery."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from aggregator import consuming
from commerce.chores import IDLE_S, Chores
from ecosystems.shutdown import stop_on_signals


class Command(BaseCommand):
    help = (
        "Do the periodic work of commerce: note how far the ledger is, for delayed plans and limits of "
        "history; end subscriptions that are over; ask Stripe about renewals of which no event came. "
        "Celery's beat and workers do that by themselves. Ends on SIGTERM."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="do all of it once and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        settings.ENVIRONMENT.announce_bus()
        stop = stop_on_signals()
        done = consuming.run(Chores(), stop, once=options["once"], idle_s=IDLE_S, label="commerce")
        self.stdout.write(f"{done} chores done")
