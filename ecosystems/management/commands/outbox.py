"""`manage.py outbox`: show and change an agent's outbox, also while the agent runs."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ecosystems.bus import OutboxError
from ecosystems.bus.outbox_command_line import OUTBOX_HELP, add_outbox_arguments, run_outbox_action


class Command(BaseCommand):
    help = OUTBOX_HELP
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        add_outbox_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            run_outbox_action(options, self._write, self.stderr.write)
        except OutboxError as error:
            raise CommandError(str(error)) from error

    def _write(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
