"""`manage.py run_agent`: a trading agent. `python -m ecosystems.agent` is the same without Django."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems import agent_command


class Command(BaseCommand):
    help = "Run a trading agent: candles of a market through a strategy, its signals to the hub."
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        agent_command.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until SIGTERM or the end of a replay. Raises CommandError, exit status 2, with one line."""
        try:
            agent_command.run(options)
        except agent_command.Misconfigured as error:
            raise CommandError(str(error), returncode=2) from error
