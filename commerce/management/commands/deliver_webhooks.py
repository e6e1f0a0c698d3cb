"""`manage.py deliver_webhooks`: pushes signals to customers' endpoints."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from aggregator import consuming
from commerce.webhooks.dispatcher import IDLE_S, Dispatcher
from ecosystems.shutdown import stop_on_signals


class Command(BaseCommand):
    help = (
        "Push signals to customers' endpoints: webhooks, chats and e-mail. Any number of these may run. "
        "Ends on SIGTERM after the requests under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="deliver what is due now and exit")

    def handle(self, *args: Any, **options: Any) -> None:
        settings.ENVIRONMENT.announce_bus()
        stop = stop_on_signals()
        made = consuming.run(Dispatcher(stop), stop, once=options["once"], idle_s=IDLE_S, label="deliveries")
        self.stdout.write(f"{made} deliveries attempted")
