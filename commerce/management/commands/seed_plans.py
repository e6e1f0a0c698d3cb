"""Creates the default plans."""

from argparse import ArgumentParser
from typing import Any

from aggregator.management.hub_command import HubCommand
from commerce.billing import default_plans


class Command(HubCommand):
    help = "Create the four default plans; plans that exist stay as they are."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--simulated",
            action="store_true",
            help="include signals tagged replay or synthetic, as the plans of a demo hub do",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        made = default_plans.create_default_plans(simulated=options["simulated"])
        if not made:
            self.stdout.write("All default plans exist already.")
        for plan in made:
            self.stdout.write(f"{plan.slug}: {plan.written_price} {plan.get_interval_display()}")
