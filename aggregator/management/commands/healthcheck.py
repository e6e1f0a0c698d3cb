"""`manage.py healthcheck`: every check, a line each."""

import sys
from typing import Any

from aggregator.health.checks import Status
from aggregator.health.runner import check_runner
from aggregator.management.hub_command import HubCommand


class Command(HubCommand):
    help = "Run every check and print a line each; exit 1 if one fails."

    def handle(self, *args: Any, **options: Any) -> None:
        results = check_runner().run_all()
        width = max(len(result.name) for result in results)
        for result in results:
            milliseconds = f"{result.seconds * 1000:.0f} ms"
            line = f"{result.status:<9} {result.name:<{width}} {milliseconds:>8}  {result.text}"
            self.stdout.write(line.rstrip())
        if any(result.status is Status.FAILED for result in results):
            sys.exit(1)
