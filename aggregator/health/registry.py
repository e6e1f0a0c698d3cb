"""The checks of this hub, by its settings."""

from django.conf import settings
from django.db import connections

from aggregator.health.checks import Check
from aggregator.health.database_checks import DatabaseCheck, MigrationsCheck
from aggregator.health.ledger_checks import FollowersCheck, LedgerCheck, TransparencyCheck
from aggregator.health.market_checks import FreshnessCheck, PricesCheck
from aggregator.health.program_checks import AlertChannelsCheck, DiskCheck, EndpointCheck, WorkerCheck
from aggregator.health.redis_checks import RedisCheck, StreamCheck
from ecosystems import ECOSYSTEMS

FOLLOWERS = ("rollups", "outcomes")


def configured_checks() -> list[Check]:
    """Return a check for everything that is configured, in the order of display."""
    environment = settings.ENVIRONMENT
    topics = environment.stream_topics if environment.redis_url else ()
    return [
        *(DatabaseCheck(alias) for alias in connections),
        MigrationsCheck(),
        LedgerCheck(),
        RedisCheck(environment.redis_url, [f"{environment.stream_prefix}:{topic}" for topic in topics]),
        *(StreamCheck(environment, topic) for topic in topics),
        FollowersCheck(FOLLOWERS),
        PricesCheck(),
        TransparencyCheck(has_key=environment.log_signing_key is not None),
        WorkerCheck(list(settings.WORKER_LOOPS)),
        EndpointCheck(environment.signal_endpoint),
        DiskCheck(settings.BASE_DIR),
        AlertChannelsCheck(),
        *(FreshnessCheck(ecosystem) for ecosystem in ECOSYSTEMS),
    ]
