"""`GET /metrics` for Prometheus.

Everything is read from Postgres and Redis at the scrape, so that every process gives the same answer.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from django.conf import settings
from django.db import DatabaseError, InterfaceError, connection
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse
from django.views import View
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from aggregator.arrivals import counters
from aggregator.background import BackgroundValue, NotReady
from aggregator.health.checks import Status
from aggregator.health.runner import check_runner
from aggregator.http import api_keys
from aggregator.http.problems import Problem, as_problem
from aggregator.ingest import stream_state
from aggregator.ledger.errors import Outage
from aggregator.ledger.rollup_writer import LAG_BOUNDS, OTHER
from aggregator.models import Agent, DeadLetter
from aggregator.transparency import log_tables

logger = logging.getLogger("signal_hub.metrics")

MAX_AGENTS = 500
"""Agents with a series of their own."""
VERDICTS = ("accepted", "duplicate", "conflict", "refused")
BUCKETS = [*(str(float(bound)) for bound in LAG_BOUNDS), "+Inf"]
LOG_GAUGES = {
    "size": "Leaves that the transparency log's last checkpoint covers.",
    "checkpoint_timestamp_seconds": "When the last checkpoint was made.",
    "lag_seconds": "For how long the oldest signal without a checkpoint has been on record.",
}

STREAM_GAUGES = {
    "length": "Entries in the stream.",
    "lag": "Entries that no consumer has read.",
    "pending": "Entries read and not acknowledged.",
    "oldest_pending_seconds": "Age of the oldest of these.",
    "consumers": "Consumers that are alive.",
    "trimmed_unread": "Entries that were trimmed unread, unresolved.",
}

Families = Iterator[Metric]


def _gauge(
    name: str, text: str, labels: Sequence[str] = (), samples: Iterable[tuple[Sequence[str], float]] = ()
) -> GaugeMetricFamily:
    """Return a gauge with a value for each sample, which has the labels' values."""
    family = GaugeMetricFamily(f"signal_hub_{name}", text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def arrivals() -> Families:
    """Yield counters and the lags' histogram by ecosystem and transport."""
    labels = ["ecosystem", "transport"]
    counts = CounterMetricFamily("signal_hub_arrivals", "Entries by verdict.", labels=[*labels, "verdict"])
    lags = HistogramMetricFamily(
        "signal_hub_lag_seconds", "From a signal's timestamp to its recording.", labels=labels
    )
    for (ecosystem, transport), measures in sorted(counters.read().items()):
        source = [ecosystem or "unknown", transport]
        for verdict in VERDICTS:
            counts.add_metric([*source, verdict], measures.get(verdict, 0))
        # Each bucket counts those before it too, as Prometheus wants them.
        passed = accumulate(measures.get(f"lag:{number}", 0) for number, _ in enumerate(BUCKETS, start=1))
        lags.add_metric(source, list(zip(BUCKETS, passed, strict=True)), None)
    yield counts
    yield lags


def dead_letters() -> Families:
    """Yield how many dead letters wait for an operator, by code."""
    rows = DeadLetter.objects.filter(resolved_at=None).order_by("code").values_list("code")
    counts = (([code], count) for code, count in rows.annotate(Count("id")))
    yield _gauge("dead_letters", "Unresolved dead letters.", ["code"], counts)


def agents() -> Families:
    """Yield when agents were last seen: each of the MAX_AGENTS known longest, and all others as one.

    By age, since by last sight they would take turns, and Prometheus keeps every series it was ever given.
    """
    heard_of = Agent.objects.filter(signals__gt=0)
    own = heard_of.exclude(agent_source=OTHER).order_by("id")[:MAX_AGENTS]
    rows = list(own.values_list("ecosystem", "agent_source", "last_seen", "id"))
    seen = [([ecosystem, agent], last_seen.timestamp()) for ecosystem, agent, last_seen, _ in rows]
    last_id = rows[-1][-1] if rows else 0
    others = heard_of.filter(Q(agent_source=OTHER) | Q(id__gt=last_id)).values_list("ecosystem")
    for ecosystem, last_seen in others.annotate(Max("last_seen")).order_by("ecosystem"):
        seen.append(([ecosystem, OTHER], last_seen.timestamp()))
    text = f"When an agent last sent something; of the {MAX_AGENTS} known longest, and of all others."
    yield _gauge("agent_last_seen_timestamp_seconds", text, ["ecosystem", "agent"], seen)
    yield _gauge("agents", "Agents that are known.", samples=[((), heard_of.count())])


def streams() -> Families:
    """Yield what waits in each stream; nothing for a stream that cannot be read."""
    gauges = {name: _gauge(f"stream_{name}", text, ["stream"]) for name, text in STREAM_GAUGES.items()}
    for state in stream_state.stream_states(settings.ENVIRONMENT, ask_postgres=not core_is_down()):
        if state.trimmed_unread is not None:
            gauges["trimmed_unread"].add_metric([state.stream], state.trimmed_unread)
        if state.error:
            continue
        gauges["oldest_pending_seconds"].add_metric([state.stream], state.oldest_pending_s or 0.0)
        for name in ("length", "lag", "pending", "consumers"):
            gauges[name].add_metric([state.stream], getattr(state, name))
    yield from gauges.values()


def transparency() -> Families:
    """Yield the size and age of the transparency log's last checkpoint; nothing where no log is kept."""
    with connection.cursor() as cursor:
        head, waiting = log_tables.head(), log_tables.waiting(cursor)
    values = (head.checkpoint_size, head.checkpoint_at.timestamp(), waiting.total_seconds()) if head else None
    for number, (name, text) in enumerate(LOG_GAUGES.items()):
        yield _gauge(f"log_{name}", text, samples=[((), values[number])] if values else ())


def checks() -> Families:
    """Yield the status of each check, as one series of value 1 among three, and how long it took."""
    results = check_runner().results()
    statuses = (([each.name, status], float(each.status is status)) for each in results for status in Status)
    yield _gauge("check", "Whether a check has a status.", ["check", "status"], statuses)
    seconds = (([each.name], each.seconds) for each in results)
    yield _gauge("check_seconds", "How long a check took.", ["check"], seconds)


def core_is_down() -> bool:
    """Return whether the core database fails its check: a query would wait for it, or hang with it."""
    return any(each.name == "database" and each.status is Status.FAILED for each in check_runner().results())


class HubCollector(Collector):
    """All metrics. A part that cannot be read is left out and counted, so that the others are still seen."""

    OF_THE_DATABASE: tuple[Callable[[], Families], ...] = (arrivals, dead_letters, agents, transparency)
    PARTS = (checks, streams, *OF_THE_DATABASE)

    def collect(self) -> Iterable[Metric]:
        failed = _gauge("scrape_failed", "Whether a part could not be read.", ["part"])
        seconds = _gauge("scrape_seconds", "How long a part took.", ["part"])
        # Each attempt to connect may take seconds, which a scrape does not have.
        down = core_is_down()
        for part in self.PARTS:
            began = time.monotonic()
            families: list[Metric] = []
            try:
                if not (down and part in self.OF_THE_DATABASE):
                    families = list(part())
            except (DatabaseError, InterfaceError) as error:
                logger.warning("metrics part=%s cannot be read: %s", part.__name__, type(error).__name__)
            yield from families
            failed.add_metric([part.__name__], float(not families))
            seconds.add_metric([part.__name__], time.monotonic() - began)
        yield failed
        yield seconds


class MetricsView(View):
    """For a key with the scope `metrics` and no limit to some ecosystems, and for staff who are logged in.

    An address is no proof: behind a tunnel or a proxy on the same machine all of the world comes from
    127.0.0.1.
    """

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            require_reader(request)
        except (Problem, api_keys.Unauthenticated, Outage) as error:
            return as_problem(error).response()
        try:
            encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        except TypeError:  # a version that is no number
            encoder, content_type = choose_encoder("")
        body = encoder(HubCollector())
        return HttpResponse(body, content_type=content_type, headers={"Cache-Control": "no-store"})


READER_KNOWN_FOR_S = 900.0
"""For how long after its last scrape a key stays valid while the core database cannot be asked."""
IDENTIFY_TIMEOUT_S = 5.0
_readers: dict[bytes, BackgroundValue[api_keys.Principal | None]] = {}
"""The owner of each key that has scraped, by the key's digest."""


def require_reader(request: HttpRequest) -> None:
    """Raise Unauthenticated or Problem 403 unless the request may read everything; Outage if that is unknown.

    A key that has scraped shortly before is valid during an outage too, which is when the figures are needed.
    """
    value = api_keys.key_in_headers(request.headers)
    if value is None:
        _require_staff(request)
        return
    manager = api_keys.auth_manager(settings.ENVIRONMENT)

    def identify() -> api_keys.Principal | None:
        if core_is_down():
            raise Outage("the database cannot be asked whose key this is")
        return manager.identify(value)

    digest = manager.digest(value)
    reader = _readers.get(digest) or BackgroundValue(
        identify, fresh_s=0.0, stale_s=READER_KNOWN_FOR_S, timeout_s=IDENTIFY_TIMEOUT_S
    )
    try:
        sender = reader.get()
        if sender is None:
            raise api_keys.Unauthenticated
        if api_keys.METRICS not in sender.scopes or sender.ecosystems is not None:
            raise Problem(403, "scope_missing", "The API key may not read the hub's metrics.")
    except NotReady as error:
        raise Outage("the database cannot be asked whose key this is") from error
    except (Problem, api_keys.Unauthenticated):
        _readers.pop(digest, None)
        raise
    _readers[digest] = reader


def _require_staff(request: HttpRequest) -> None:
    if settings.SESSION_COOKIE_NAME not in request.COOKIES:
        raise api_keys.Unauthenticated
    if core_is_down():
        raise Outage("the database cannot be asked who is signed in")
    try:
        if request.user.is_active and request.user.is_staff:
            return
    except (DatabaseError, InterfaceError) as error:
        raise Outage("the database cannot be asked who is signed in") from error
    raise api_keys.Unauthenticated
