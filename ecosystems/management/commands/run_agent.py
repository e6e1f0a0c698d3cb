"""`manage.py run_agent`: a trading agent. `python -m ecosystems.agent` is the same without Django."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems.agent import command_line


class Command(BaseCommand):
    help = "Run a trading agent: candles of a market through a strategy, its signals to the hub."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        command_line.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or the end of a replay. Raises CommandError, exit status 2, with one line."""
        try:
            command_line.run(options)
        except command_line.Misconfigured as error:
            raise CommandError(str(error), returncode=2) from error
