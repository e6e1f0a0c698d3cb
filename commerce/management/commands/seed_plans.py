"""Creates the default plans."""

from typing import Any

from django.core.management.base import BaseCommand

from commerce.billing import default_plans


class Command(BaseCommand):
    help = "Create the four default plans; plans that exist stay as they are."

    def handle(self, *args: Any, **options: Any) -> None:
        made = default_plans.create_default_plans()
        if not made:
            self.stdout.write("All default plans exist already.")
        for plan in made:
            self.stdout.write(f"{plan.slug}: {plan.written_price} {plan.get_interval_display()}")
