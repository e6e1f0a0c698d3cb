"""The transports of a bus: those of the environment, or one that a caller asks for instead."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from ecosystems import ECOSYSTEMS
from ecosystems.bus.memory import MemoryTransport
from ecosystems.bus.transport import BusError, Transport

if TYPE_CHECKING:
    from ecosystems.bus.webhook import WebhookTransport
    from ecosystems.env import Environment

TransportName = Literal["memory", "redis", "webhook", "database"]

logger = logging.getLogger("signal_hub.bus")


def transports_of(
    environment: "Environment", ecosystem: str | None = None, backend: TransportName | None = None
) -> list[Transport]:
    """Return the transports for signals of `ecosystem`, or of all of them.

    Without `backend`: the environment's, by its fallback order, and the databases whose URLs are set. With
    `backend`: that one alone; raises BusError where the environment lacks what it needs.
    """
    ecosystems = ECOSYSTEMS if ecosystem is None else (ecosystem,)
    if backend == "database":
        if not (found := _databases(environment, ecosystems)):
            names = " or ".join(f"CORE_{name.upper()}_DB_URL" for name in ecosystems)
            raise BusError(f"the database transport needs {names} or CORE_DB_URL")
        logger.info("EventBus backend=database")
        return found
    if backend is not None:
        environment = replace(environment, event_bus_backend=backend)
        if environment.bus_backend()[0] != backend:
            raise BusError(str(environment.bus_backend()[1]).replace("; using memory instead", ""))
    chosen = _chosen(environment)
    databases = _databases(environment, ecosystems) if backend is None else []
    kept = {name for database in databases for name in database.ecosystems}
    alone = [name for name in ecosystems if name not in kept]
    if alone and isinstance(chosen, MemoryTransport):
        logger.warning(
            "EventBus: %s signals only reach subscribers in this process: no transport to the hub is set",
            ", ".join(alone),
        )
    return [chosen, *databases]


def _chosen(environment: "Environment") -> Transport:
    """Return the transport of the environment's selector."""
    match environment.announce_bus():
        case "redis":
            from ecosystems.bus.redis import RedisTransport

            return RedisTransport(
                environment.redis_url or "",
                prefix=environment.stream_prefix,
                maxlen=environment.stream_maxlen,
            )
        case "webhook":
            return webhook_transport(environment)
        case "memory":
            return MemoryTransport()


def webhook_transport(environment: "Environment") -> "WebhookTransport":
    """Return the webhook transport, whose URL and secret must be set."""
    from ecosystems.bus.webhook import WebhookTransport

    return WebhookTransport(
        environment.event_webhook_url or "",
        environment.event_webhook_secret or "",
        api_key=environment.api_keys[0][1] if environment.api_keys else None,
        max_signals=environment.webhook_max_signals,
        max_bytes=environment.webhook_max_bytes,
    )


def _databases(environment: "Environment", ecosystems: Sequence[str]) -> list[Transport]:
    """Return one transport for each database that any of the ecosystems has, under a name of its own."""
    homes: dict[str, list[str]] = defaultdict(list)
    for ecosystem in ecosystems:
        if url := environment.database_url(ecosystem):
            homes[url].append(ecosystem)
    if not homes:
        return []
    from ecosystems.bus.database import DatabaseTransport

    return [
        DatabaseTransport(
            url,
            ecosystems=names,
            name="database" if len(homes) == 1 else f"database:{'+'.join(names)}",
        )
        for url, names in homes.items()
    ]
