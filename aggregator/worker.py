"""The Celery bootstep that makes a worker a consumer of the streams, in the group of `consume_streams`."""

import logging
import os
import signal
import threading
from typing import Any

from celery import bootsteps
from django.conf import settings

from aggregator import consuming

logger = logging.getLogger("signal_hub.consumer")

STOP_WITHIN_S = 30


class StreamConsumerStep(bootsteps.StartStopStep):
    """Runs a StreamConsumer in a thread of the worker's main process, from its start to its stop."""

    # After the pool: its processes are forked before there is a thread.
    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self.stop_event = threading.Event()
        self.thread: threading.Thread | None = None

    def start(self, parent: Any) -> None:  # noqa: ARG002 - Celery's signature
        environment = settings.ENVIRONMENT
        environment.announce_bus()
        self.thread = threading.Thread(target=self._consume, name="stream-consumer", daemon=True)
        self.thread.start()

    def stop(self, parent: Any) -> None:  # noqa: ARG002
        self.stop_event.set()
        if self.thread is not None and self.thread is not threading.current_thread():
            self.thread.join(STOP_WITHIN_S)

    terminate = stop

    def _consume(self) -> None:
        from aggregator.ingest.streams import StreamConsumer  # models, which are not there yet at the import

        consumer = StreamConsumer.from_environment(settings.ENVIRONMENT)
        try:
            consuming.run(consumer, self.stop_event, label="streams")
        except Exception:
            # A worker that goes on without its consumer would look alive and consume nothing.
            logger.critical("the stream consumer crashed; stopping the worker", exc_info=True)
            os.kill(os.getpid(), signal.SIGTERM)
