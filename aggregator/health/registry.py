"""Which probes this hub has, by its settings."""

from django.conf import settings
from django.db import connections

from aggregator.health.channel_check import ChannelsProbe
from aggregator.health.checks import Probe
from aggregator.health.database_checks import DatabaseProbe, MigrationsProbe
from aggregator.health.freshness_check import FreshnessProbe
from aggregator.health.program_checks import DiskProbe, EndpointProbe
from aggregator.health.stream_checks import RedisProbe, StreamProbe
from aggregator.health.worker_check import WorkerProbe
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
        WorkerProbe(list(settings.WORKER_LOOPS)),
        EndpointProbe(environment.signal_endpoint),
        DiskProbe(settings.BASE_DIR),
        ChannelsProbe(),
        *(FreshnessProbe(ecosystem) for ecosystem in ECOSYSTEMS),
    ]
