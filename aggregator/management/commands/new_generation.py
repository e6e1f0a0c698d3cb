"""`manage.py new_generation`: let positions go on far above, after a restore or a failover."""

from typing import Any

from django.core.management.base import CommandError

from aggregator.ledger import generations
from aggregator.ledger.errors import Outage, classified
from aggregator.management.hub_command import HubCommand


class Command(HubCommand):
    help = (
        "Let positions go on far above any that can have been handed out. Run it after a restore, or after a "
        "standby that was behind was promoted, before signals come in again. Harmless if nothing was lost."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            with classified():
                generation, is_new = generations.begin_generation()
        except Outage as outage:
            raise CommandError(str(outage)) from outage
        state = "begins" if is_new else "has begun before, and nothing was recorded in it"
        self.stdout.write(
            f"Generation {generation.number} {state}: positions go on above {generation.floor}. "
            f"The ledger's last one is {min(generation.head, generation.floor)}."
        )
