"""Which probes this hub has, by its settings."""

from django.conf import settings
from django.db import connections

from aggregator import heartbeats
from aggregator.alerts.probe import ChannelsProbe
from aggregator.probes.base import Probe
from aggregator.probes.databases import DatabaseProbe, MigrationsProbe
from aggregator.probes.freshness import FreshnessProbe
from aggregator.probes.programs import DiskProbe, EndpointProbe, HeartbeatProbe
from aggregator.probes.streams import RedisProbe, StreamProbe
from ecosystems import ECOSYSTEMS


def all_probes() -> list[Probe]:
    """Return a probe for everything that is configured, in the order to show them."""
    environment = settings.ENVIRONMENT
    topics = environment.stream_topics if environment.redis_url else ()
    return [
        *(DatabaseProbe(alias) for alias in connections),
        MigrationsProbe(),
        RedisProbe(environment.redis_url),
        *(StreamProbe(environment, topic) for topic in topics),
        HeartbeatProbe(heartbeats.WORKER, environment.redis_url),
        HeartbeatProbe(heartbeats.BEAT, environment.redis_url),
        EndpointProbe(environment.signal_endpoint),
        DiskProbe(settings.BASE_DIR),
        ChannelsProbe(),
        *(FreshnessProbe(ecosystem) for ecosystem in ECOSYSTEMS),
    ]
