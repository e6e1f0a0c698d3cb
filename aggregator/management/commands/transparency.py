"""`manage.py transparency`: begins the transparency log, shows its state, verifies it against the tables."""

import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError

from aggregator.ledger.errors import Outage
from aggregator.management.hub_command import HubCommand
from aggregator.models import Outcome
from aggregator.transparency import log_setup, log_status, verification
from aggregator.transparency.log_directory import CannotSeal, log_directory
from aggregator.transparency.record_csv import RecordCsv
from ecosystems import ECOSYSTEMS


class Command(HubCommand):
    help = "Keep a log that proves to anybody that no recorded signal was changed or left out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True)
        init = actions.add_parser(
            "init",
            help="make the signing key, begin the log, and print the verifier key; harmless if it has begun",
        )
        init.add_argument(
            "--new-origin",
            action="store_true",
            help="begin another log, where the tables can never extend the last checkpoint again",
        )
        rotate = actions.add_parser("rotate", help="make a second signing key; both sign until you finish")
        rotate.add_argument("--finish", action="store_true", help="let the second key sign alone")
        actions.add_parser("status", help="show size, checkpoint, keys and anchors")
        export = actions.add_parser(
            "export", help="print an agent's record as CSV, which discloses all its signals"
        )
        export.add_argument("ecosystem", choices=ECOSYSTEMS)
        export.add_argument("agent", help="its agent_source; a dash is the unnamed one")
        actions.add_parser("verify", help="compute all from the tables anew; exit 1 at the first difference")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            getattr(self, f"_{options['action']}")(options)
        except (CannotSeal, Outage) as error:
            raise CommandError(str(error)) from None

    def _init(self, options: dict[str, Any]) -> None:
        if not settings.PUBLIC_HOST:
            raise CommandError("AGG_SIGNAL_ENDPOINT is not set: its host is the log's name")
        directory = log_directory()
        begin = log_setup.begin_another if options["new_origin"] else log_setup.begin
        keys = begin(directory, settings.PUBLIC_HOST)
        where = "CORE_LOG_SIGNING_KEY" if directory.given_keys else str(directory.key_file)
        self.stderr.write(
            f"The signing key is in {where}. Keep a copy of it apart from this machine\n"
            f"and from the database's backups. Never restore {directory.checkpoint_file} from a backup.\n"
            "Customers verify the log with its verifier key. Publish it where they know it to be yours:"
        )
        self.stdout.write("\n".join(keys))

    def _rotate(self, options: dict[str, Any]) -> None:
        change = log_setup.retire_key if options["finish"] else log_setup.announce_key
        keys = change(log_directory())
        if not options["finish"]:
            self.stderr.write(
                "From now on both keys sign. Publish the second verifier key, give your customers time,\n"
                "then run: manage.py transparency rotate --finish"
            )
        self.stdout.write("\n".join(keys))

    def _status(self, _options: dict[str, Any]) -> None:
        self.stdout.write("\n".join(log_status.lines(log_directory())))

    def _verify(self, _options: dict[str, Any]) -> None:
        try:
            leaves = verification.verify(log_directory())
        except verification.Difference as difference:
            self.stdout.write(f"differs: {difference}")
            sys.exit(1)
        self.stdout.write(f"verified: {leaves:,} leaves, their tree and every known checkpoint")

    def _export(self, options: dict[str, Any]) -> None:
        agent = "" if options["agent"] == "-" else options["agent"]
        calls = Outcome.objects.filter(ecosystem=options["ecosystem"], agent_source=agent)
        for part in RecordCsv(options["ecosystem"], agent, calls).lines():
            self.stdout.write(part, ending="")
