"""Liveness of agents and ecosystems, from the rollups, the agents' cadences and the trading hours."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from aggregator.arrivals import queries
from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.silence import BY_URGENCY, AgentCounts, Judge, Liveness, Silence
from aggregator.background import BackgroundValue
from ecosystems import ECOSYSTEMS
from ecosystems.market import calendars

TRANSPORTS = ("database", "redis", "webhook")
CHART_PERIOD = timedelta(days=1)
TYPICAL_PERIOD = timedelta(days=7)
"""The typical rate is the mean of so much time, counting the hours in which the market was open."""
MIN_OPEN_TIME = timedelta(hours=1)
"""How much open time must have passed before a rate is called typical."""
RECENT = timedelta(minutes=15)
"""How long after an arrival an ecosystem counts as live while its agents are not known yet."""


@dataclass(frozen=True)
class AgentLiveness:
    """One of the most urgent agents."""

    silence: Silence
    day: queries.AgentDay


@dataclass
class ArrivalFigures:
    """What one ecosystem got, over one transport or over all."""

    minute: int = 0
    hour: int = 0
    day: int = 0
    duplicates: int = 0
    refused: int = 0
    first_at: datetime | None = None
    """The hour of the first arrival within TYPICAL_PERIOD."""
    last_at: datetime | None = None
    lags: list[int] = field(default_factory=lambda: queries.Recent().lags)
    by_hour: dict[datetime, int] = field(default_factory=dict)


@dataclass
class EcosystemLiveness:
    ecosystem: str
    state: Liveness
    total: ArrivalFigures
    transports: dict[str, ArrivalFigures]
    typical_hour: float | None
    """Signals in an hour of open market; None while too little is known."""
    is_open: bool
    next_change: datetime | None
    """When the market opens or closes next; None if it never does, or while that is not known."""
    agents: AgentCounts | None
    """None while the trading calendars are being loaded."""

    @property
    def agents_in_words(self) -> str:
        """Return how many agents have which liveness: `1 silent, 2 live`."""
        states = self.agents.states if self.agents else Counter[Liveness]()
        return ", ".join(f"{states[state]:,} {state}" for state in BY_URGENCY if states[state])


@dataclass(frozen=True)
class KnownAgents:
    """How the agents fare."""

    counts: dict[str, AgentCounts]
    urgent: list[AgentLiveness]
    """The most urgent ones."""


@dataclass
class HubLiveness:
    ecosystems: list[EcosystemLiveness]
    agents: KnownAgents | None
    """None while they are being read, or the trading calendars are being loaded."""


def _load_calendars() -> bool:
    """Load the trading calendars, which takes seconds, once in a process."""
    return bool([calendars.is_market_open(name, datetime.now().astimezone()) for name in ECOSYSTEMS])


calendars_loaded = BackgroundValue(_load_calendars, fresh_s=float("inf"), timeout_s=0.3)


def read_agents(now: datetime | None = None, detailed: int = 50) -> KnownAgents | None:
    """Return how the agents fare, and of `detailed` what they sent; None without the trading calendars."""
    if not calendars_loaded.latest():
        return None
    judge = Judge(now)
    urgent = judge.most_urgent(detailed)
    days = queries.agent_days([(each.ecosystem, each.agent_source) for each in urgent], judge.at)
    shown = [
        AgentLiveness(each, days.get((each.ecosystem, each.agent_source), queries.AgentDay()))
        for each in urgent
    ]
    return KnownAgents(judge.counts(), shown)


def current_liveness(
    now: datetime,
    cache: queries.RollupCache | None = None,
    agents_at: Callable[[datetime], KnownAgents | None] = read_agents,
) -> HubLiveness:
    """Return how everything stands at `now`."""
    cache = cache or queries.RollupCache()
    recent = cache.recent(now)
    week = cache.by_hour(now - TYPICAL_PERIOD, now)
    agents = agents_at(now)
    ecosystems = [
        _ecosystem(name, now, recent, week, agents.counts.get(name, AgentCounts()) if agents else None)
        for name in ECOSYSTEMS
    ]
    return HubLiveness(ecosystems, agents)


def _ecosystem(
    name: str,
    now: datetime,
    recent: dict[queries.Origin, queries.Recent],
    week: dict[queries.Origin, list[queries.Hour]],
    agents: AgentCounts | None,
) -> EcosystemLiveness:
    figures = {
        transport: _figures(
            recent.get((name, transport), queries.Recent()), week.get((name, transport), []), now
        )
        for transport in TRANSPORTS
    }
    total = _sum(list(figures.values()))
    all_hours = [hour for transport in TRANSPORTS for hour in week.get((name, transport), [])]
    return EcosystemLiveness(
        name,
        _together(agents, total, now),
        total,
        figures,
        _typical_hour(name, all_hours, now) if agents is not None else None,
        agents is None or calendars.is_market_open(name, now),
        calendars.next_market_change(name, now) if agents is not None else None,
        agents,
    )


def _together(agents: AgentCounts | None, total: ArrivalFigures, now: datetime) -> Liveness:
    """One live agent makes its ecosystem live; it is silent when all of its agents are."""
    if agents is None and total.last_at is not None:
        return Liveness.LIVE if now - total.last_at <= RECENT else Liveness.LATE
    if not agents or not agents.total:
        return Liveness.NEVER
    for state in (Liveness.LIVE, Liveness.CLOSED):
        if state in agents.states:
            return state
    return Liveness.SILENT if agents.all_silent else Liveness.LATE


def _figures(recent: queries.Recent, week: list[queries.Hour], now: datetime) -> ArrivalFigures:
    day = [hour for hour in week if hour.since > now - CHART_PERIOD]
    return ArrivalFigures(
        minute=recent.minute,
        hour=recent.hour,
        day=sum(hour.accepted for hour in day),
        duplicates=sum(hour.duplicates for hour in day),
        refused=sum(hour.refused for hour in day),
        first_at=min((hour.since for hour in week), default=None),
        last_at=max((hour.last_at for hour in week if hour.last_at), default=None),
        lags=recent.lags,
        by_hour={hour.since: hour.accepted for hour in day},
    )


def _sum(parts: list[ArrivalFigures]) -> ArrivalFigures:
    return ArrivalFigures(
        minute=sum(part.minute for part in parts),
        hour=sum(part.hour for part in parts),
        day=sum(part.day for part in parts),
        duplicates=sum(part.duplicates for part in parts),
        refused=sum(part.refused for part in parts),
        first_at=min((part.first_at for part in parts if part.first_at), default=None),
        last_at=max((part.last_at for part in parts if part.last_at), default=None),
        lags=[sum(bucket) for bucket in zip(*(part.lags for part in parts), strict=True)],
    )


def _typical_hour(ecosystem: str, week: list[queries.Hour], now: datetime) -> float | None:
    """Return the mean rate of the past week's open hours, without the current one and the first.

    Of both a part may be missing: a new hub began within its first hour.
    """
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    if not week:
        return None
    start = min(hour.since for hour in week) + timedelta(hours=1)
    past = [hour for hour in week if start <= hour.since < this_hour]
    if not past:
        return None
    open_time = OpenTime(ecosystem, start, this_hour).until(this_hour)
    if open_time < MIN_OPEN_TIME:
        return None
    return sum(hour.accepted for hour in past) / (open_time / timedelta(hours=1))
