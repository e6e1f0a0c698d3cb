"""The loop around a consumer: it waits out outages, and ends between two batches when it is told to."""

import logging
import threading
from typing import Protocol

import redis

from aggregator.ledger.errors import Outage

logger = logging.getLogger("signal_hub.consumer")

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0

MISCONFIGURED = (redis.exceptions.AuthenticationError, redis.exceptions.NoPermissionError)


class Misconfigured(Exception):
    """What no waiting will mend; the text is one line for an operator."""


class Consumer(Protocol):
    def run_once(self, *, wait: bool) -> int: ...

    def close(self) -> None: ...


def run(
    consumer: Consumer, stop: threading.Event, *, once: bool = False, idle_s: float = 0.0, label: str = ""
) -> int:
    """Consume until `stop` is set, or with `once` until nothing is left; return how much was settled.

    `idle_s` is how long to wait after a turn that found nothing. Raises Misconfigured.
    """
    settled = 0
    delay = FIRST_WAIT_S
    while not stop.is_set():
        try:
            count = consumer.run_once(wait=not once)
        except (Outage, redis.RedisError) as error:
            if isinstance(error, MISCONFIGURED) or "WRONGTYPE" in str(error):
                raise Misconfigured(f"{label}: Redis refuses: {type(error).__name__}") from error
            logger.warning("consumer=%s outage, trying again in %.1f s: %s", label, delay, _told(error))
            stop.wait(delay)
            delay = min(delay * 2, LONGEST_WAIT_S)
            continue
        if delay > FIRST_WAIT_S:
            logger.info("consumer=%s goes on", label)
        delay = FIRST_WAIT_S
        settled += count
        if count:
            logger.debug("consumer=%s settled=%d", label, count)  # the ledger has logged the batch
        elif once:
            break
        else:
            stop.wait(idle_s)
    consumer.close()
    return settled


def _told(error: Exception) -> str:
    """Name the error without its text, which may hold a URL; an Outage's text is made for logs."""
    return str(error) if isinstance(error, Outage) else type(error).__name__
