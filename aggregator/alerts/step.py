"""The Celery bootstep that makes a worker watch, and tell that it is alive; and beat's own sign of life."""

import socket
import threading
from typing import Any

from celery import bootsteps, signals
from django.conf import settings

from aggregator.health import heartbeats

STOP_WITHIN_S = 10


class WatchStep(bootsteps.StartStopStep):
    """Runs a Watcher and a Pulse in threads of the worker's main process, from its start to its stop."""

    # After the pool: its processes are forked before there is a thread.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.stop_event = threading.Event()
        self.threads: list[threading.Thread] = []

    def start(self, parent: Any) -> None:
        from aggregator.alerts.watcher import (
            AlertWatcher,  # models, which are not there yet when Celery is set up
        )

        self.threads = [
            threading.Thread(target=AlertWatcher().run, args=[self.stop_event], name="watcher", daemon=True)
        ]
        if settings.ENVIRONMENT.redis_url:
            # Not the watcher's own thread, which a slow chat service may hold up.
            pulse = heartbeats.Pulse(settings.ENVIRONMENT.redis_url, heartbeats.WORKER, parent.hostname)
            self.threads.append(threading.Thread(target=self._beat, args=[pulse], name="pulse", daemon=True))
        for thread in self.threads:
            thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        self.stop_event.set()
        for thread in self.threads:
            thread.join(STOP_WITHIN_S)

    terminate = stop

    def _beat(self, pulse: heartbeats.Pulse) -> None:
        while not self.stop_event.is_set():
            pulse.beat()
            self.stop_event.wait(heartbeats.EVERY_S)


@signals.beat_init.connect
def follow_beat(**_: Any) -> None:
    """Make each task that beat publishes a sign of life: a thread beside it would outlive its scheduler."""
    settings.ENVIRONMENT.announce_bus()
    if not settings.ENVIRONMENT.redis_url:
        return
    pulse = heartbeats.Pulse(settings.ENVIRONMENT.redis_url, heartbeats.BEAT, socket.gethostname())

    def published(**_: Any) -> None:
        pulse.beat()

    signals.after_task_publish.connect(published, weak=False)
