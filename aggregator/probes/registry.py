"""Which probes this hub has, by its settings."""

from django.conf import settings
from django.db import connections

from aggregator.probes.base import Probe
from aggregator.probes.databases import DatabaseProbe, MigrationsProbe
from aggregator.probes.streams import RedisProbe, StreamProbe


def all_probes() -> list[Probe]:
    """Return a probe for everything that is configured, in the order to show them."""
    environment = settings.ENVIRONMENT
    topics = environment.stream_topics if environment.redis_url else ()
    return [
        *(DatabaseProbe(alias) for alias in connections),
        MigrationsProbe(),
        RedisProbe(environment.redis_url),
        *(StreamProbe(environment, topic) for topic in topics),
    ]
