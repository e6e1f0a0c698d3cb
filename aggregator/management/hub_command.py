"""What the hub's own commands have in common."""

from collections.abc import Iterable

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from aggregator import worker
from aggregator.postgres.pool import limit_connections
from ecosystems.shutdown import stop_on_signals


class HubCommand(BaseCommand):
    """A command that starts without Django's checks, which import every page and take as long as all else.

    `manage.py migrate` and `manage.py check` run them.
    """

    requires_system_checks: list[str] = []


def host(only: Iterable[str] = (), *, once: bool) -> dict[str, int]:
    """Run loops until SIGTERM or, with `once`, until nothing is left; return how much each has done.

    Raises CommandError, which ends the program with one line and status 1.
    """
    try:
        loops = worker.configured(only)
        stop = stop_on_signals()
        settings.ENVIRONMENT.announce_bus()
        worker.tune_process()
        limit_connections()
        return worker.Worker(loops, stop, once=once).run()
    except (worker.Misconfigured, worker.LoopFailed) as error:
        raise CommandError(str(error)) from None
