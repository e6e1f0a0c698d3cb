"""`manage.py healthcheck`: every probe, a line each."""

import sys
from typing import Any

from django.core.management.base import BaseCommand

from aggregator.health.checks import CheckResult, Status
from aggregator.health.runner import check_runner


class Command(BaseCommand):
    help = "Ask every probe and print a line each; exit 1 if one fails."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        outcomes = check_runner().ask_all()
        width = max(len(outcome.name) for outcome in outcomes)
        for outcome in outcomes:
            self.stdout.write(_line(outcome, width))
        if any(outcome.state is Status.FAILED for outcome in outcomes):
            sys.exit(1)


def _line(outcome: CheckResult, width: int) -> str:
    words = "; ".join(filter(None, (outcome.text, outcome.detail)))
    milliseconds = f"{outcome.seconds * 1000:.0f} ms"
    return f"{outcome.state:<9} {outcome.name:<{width}} {milliseconds:>8}  {words}".rstrip()
