"""How commands host the loops of `aggregator.worker` in the foreground."""

from collections.abc import Iterable

from django.conf import settings
from django.core.management.base import CommandError

from aggregator import worker
from aggregator.postgres.pool import limit_connections
from ecosystems.shutdown import stop_on_signals


def host(only: Iterable[str] = (), *, once: bool) -> dict[str, int]:
    """Run loops until SIGTERM or, with `once`, until nothing is left; return how much each has done.

    Raises CommandError, which ends the program with one line and status 1.
    """
    try:
        loops = worker.configured(only)
    except ValueError as error:
        raise CommandError(str(error)) from None
    stop = stop_on_signals()
    settings.ENVIRONMENT.announce_bus()
    worker.tune_process()
    limit_connections()
    try:
        return worker.Worker(loops, stop, once=once).run()
    except worker.LoopFailed as error:
        raise CommandError(str(error)) from None
