"""`manage.py score`: what became of each call."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import CommandError

from aggregator.management.hub_command import HubCommand, host
from aggregator.track_record.feed_choice import CannotChoose, choose_feed


class Command(HubCommand):
    help = (
        "Score the calls on record with the candles on record, by the rules of docs/track-record.md. Ends on "
        "SIGTERM after the calls under way."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--once", action="store_true", help="score what can be scored now and exit")
        parser.add_argument("--position", type=int, help="score this call again from --feed, then as --once")
        parser.add_argument("--feed", help="with --position: the feed whose candles count from now on")
        parser.add_argument("--by", metavar="NAME", help="with --position: who chose it")

    def handle(self, *args: Any, **options: Any) -> None:
        choice = (options["position"], options["feed"], options["by"])
        if any(each is not None for each in choice):
            if options["position"] is None or not options["feed"] or not options["by"]:
                raise CommandError(
                    "--position, --feed and --by go together: the choice is recorded with a name"
                )
            try:
                choose_feed(*choice)
            except CannotChoose as error:
                raise CommandError(str(error)) from error
            options["once"] = True
        done = host(["outcomes"], once=options["once"])
        self.stdout.write(f"{sum(done.values())} steps")
