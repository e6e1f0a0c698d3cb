"""The Celery application: `celery -A config worker` and `celery -A config beat`.

A worker hosts the loops of `manage.py run_worker` in its main process, but for the periodic jobs: those are
tasks, which beat triggers. No loop needs the broker, so signals are recorded and sent while it is away.
"""

import logging
import os
import threading
import time
from typing import Any

from celery import Celery, bootsteps
from celery.signals import beat_init, worker_shutting_down
from celery.worker import consumer, state
from django.conf import settings

from aggregator.postgres.pool import limit_connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
os.environ.setdefault("CELERY_SKIP_CHECKS", "1")  # they import every page: see HubCommand

logger = logging.getLogger("signal_hub.worker")

LOOPS_STOP_TIMEOUT_S = 30
MAX_BROKER_DELAY_S = 10.0


class LoopsStep(bootsteps.StartStopStep):
    """Hosts the loops in a worker's main process, from its start to its stop."""

    # After the pool: its processes are forked before there is a thread.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.stop_event = threading.Event()
        self.thread = threading.Thread(target=self._host, name="loops", daemon=True)

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        settings.ENVIRONMENT.announce_bus()
        limit_connections()
        self.thread.start()
        # Celery stops its consumer before this step, which takes seconds.
        worker_shutting_down.connect(self._end, weak=False)

    def _end(self, **_: Any) -> None:
        self.stop_event.set()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        self.stop_event.set()
        if self.thread.is_alive():
            self.thread.join(LOOPS_STOP_TIMEOUT_S)

    terminate = stop

    def _host(self) -> None:
        # Models, which are not there yet when Celery imports this module.
        from aggregator import periodic, worker

        loops = worker.configured()
        del loops[periodic.LOOP]
        try:
            worker.Worker(loops, self.stop_event).run()
        except worker.LoopFailed as error:
            # A worker that goes on without one of its loops would look alive and not do its work.
            logger.critical("stopping the worker: %s", error)
            state.should_stop = 1  # type: ignore[assignment] # what SIGTERM sets to 0: a warm shutdown, with this exit status


class Consumer(consumer.Consumer):
    """Celery's consumer, which waits before it connects anew also where Redis answers with an error.

    By itself it waits only for a Redis that does not answer, and asks a read-only one as fast as it can.
    """

    _delay_s = 0.0
    _failed_at = 0.0

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        self._wait()

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._wait()

    def _wait(self) -> None:
        """Wait longer each time, from nothing, until a minute has passed without an error."""
        if time.monotonic() - self._failed_at > 60 + self._delay_s:
            self._delay_s = 0.0
        else:
            self._delay_s = min(MAX_BROKER_DELAY_S, max(0.5, self._delay_s * 2))
        self._failed_at = time.monotonic()
        while time.monotonic() - self._failed_at < self._delay_s:
            state.maybe_shutdown()
            time.sleep(0.1)


# Workers have nothing to ask one another, and one that is about to would end with a broker that goes away.
consumer.Gossip.compatible_transports = consumer.Mingle.compatible_transports = set()

app = Celery("signal_hub")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()

# Not in a receiver of `on_after_configure`: Celery only logs what such a one raises, and the worker would go
# on without its loops.
app.steps["worker"].add(LoopsStep)


@app.on_after_configure.connect
def require_redis(**_: object) -> None:
    """End a program that would wait for a broker that is not named."""
    if not settings.ENVIRONMENT.redis_url:
        raise SystemExit("signal-hub: Celery needs CORE_REDIS_URL; or run manage.py run_worker")


@beat_init.connect
def announce_bus(**_: object) -> None:
    """Log the event bus at beat's start, as every program of the hub does."""
    settings.ENVIRONMENT.announce_bus()
