"""Liveness of agents and ecosystems, from the rollups, the agents' cadences and the trading hours."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from aggregator.arrivals import cadence, queries
from aggregator.arrivals.open_hours import OpenTime
from aggregator.background import BackgroundValue
from ecosystems import ECOSYSTEMS
from ecosystems.market import calendars

TRANSPORTS = ("database", "redis", "webhook")
CHART_PERIOD = timedelta(days=1)
TYPICAL_PERIOD = timedelta(days=7)
"""The typical rate is the mean of so much time, counting the hours in which the market was open."""
MIN_OPEN_TIME = timedelta(hours=1)
"""How much open time must have passed before a rate is called typical."""
UNKNOWN_AGENT_ALLOWANCE = timedelta(minutes=15)
"""For how long an agent counts as live whose cadence is not known yet."""


class Liveness(StrEnum):
    LIVE = "live"
    LATE = "late"
    SILENT = "silent"
    CLOSED = "closed market"
    NEVER = "no signals yet"


BY_URGENCY = (Liveness.SILENT, Liveness.LATE, Liveness.LIVE, Liveness.CLOSED, Liveness.NEVER)


@dataclass
class AgentLiveness:
    ecosystem: str
    name: str
    state: Liveness
    last_seen: datetime
    allowed: timedelta | None
    """The longest silence that is expected; None while it is not known."""
    day: queries.AgentDay = field(default_factory=queries.AgentDay)
    """Read only of those at the head of the list."""


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
    agents: str
    """How many agents are in which state, in words."""


@dataclass
class HubLiveness:
    ecosystems: list[EcosystemLiveness]
    agents: list[AgentLiveness] | None
    """None while the trading calendars are being loaded."""


def _load_calendars() -> bool:
    """Load the trading calendars, which takes seconds, once in a process."""
    return bool([calendars.is_market_open(name, datetime.now().astimezone()) for name in ECOSYSTEMS])


calendars_loaded = BackgroundValue(_load_calendars, fresh_s=float("inf"), timeout_s=0.3)


def current_liveness(
    now: datetime, cache: queries.RollupCache | None = None, *, detailed: int = 50
) -> HubLiveness:
    """Return how everything stands at `now`, in four queries; of `detailed` agents also what they sent."""
    cache = cache or queries.RollupCache()
    recent = cache.recent(now)
    week = cache.by_hour(now - TYPICAL_PERIOD, now)
    silences = cadence.silences(now) if calendars_loaded.latest() else None
    agents = _agents(silences, now, detailed) if silences is not None else None
    # As the check and the alert decide it, so that the page does not contradict them.
    silent = {
        name
        for name in ECOSYSTEMS
        if cadence.is_silent([each for each in silences or [] if each.ecosystem == name])
    }
    ecosystems = [_ecosystem(name, now, recent, week, agents, silent) for name in ECOSYSTEMS]
    return HubLiveness(ecosystems, agents)


def _agents(silences: list[cadence.Silence], now: datetime, detailed: int) -> list[AgentLiveness]:
    """Return the agents, the most urgent first."""
    found = [
        AgentLiveness(each.ecosystem, each.agent_source, liveness_of(each, now), each.last_seen, each.allowed)
        for each in silences
    ]
    # Those that are live keep their places by name: by last sight they would change them at every look.
    found.sort(key=lambda agent: timedelta() if agent.state is Liveness.LIVE else now - agent.last_seen)
    found.sort(key=lambda agent: BY_URGENCY.index(agent.state))
    days = queries.agent_days([(agent.ecosystem, agent.name) for agent in found[:detailed]], now)
    for agent in found:
        agent.day = days.get((agent.ecosystem, agent.name), agent.day)
    return found


def liveness_of(silence: cadence.Silence, now: datetime) -> Liveness:
    """Live up to half of what is allowed; silent beyond all of it, counting open time only."""
    allowed = silence.allowed or UNKNOWN_AGENT_ALLOWANCE
    if now - silence.last_seen <= allowed / 2:
        return Liveness.LIVE
    if not calendars.is_market_open(silence.ecosystem, now):
        return Liveness.CLOSED
    if silence.silent_for <= allowed / 2:
        return Liveness.LATE
    return Liveness.SILENT if silence.too_long else Liveness.LATE


def _ecosystem(
    name: str,
    now: datetime,
    recent: dict[queries.Origin, queries.Recent],
    week: dict[queries.Origin, list[queries.Hour]],
    agents: list[AgentLiveness] | None,
    silent: set[str],
) -> EcosystemLiveness:
    figures = {
        transport: _figures(recent.get((name, transport)), week.get((name, transport), []), now)
        for transport in TRANSPORTS
    }
    total = _sum(list(figures.values()))
    all_hours = [hour for transport in TRANSPORTS for hour in week.get((name, transport), [])]
    states = [agent.state for agent in agents or [] if agent.ecosystem == name]
    return EcosystemLiveness(
        name,
        _together(states, total, now, is_silent=name in silent),
        total,
        figures,
        _typical_hour(name, all_hours, now) if agents is not None else None,
        agents is None or calendars.is_market_open(name, now),
        calendars.next_market_change(name, now) if agents is not None else None,
        _in_words(Counter(states)),
    )


def _in_words(states: Counter[Liveness]) -> str:
    """Return how many agents have which liveness: `1 silent, 2 live`."""
    return ", ".join(f"{states[state]:,} {state}" for state in BY_URGENCY if states[state])


def _together(states: list[Liveness], total: ArrivalFigures, now: datetime, *, is_silent: bool) -> Liveness:
    """One live agent makes its ecosystem live; it is silent when all of its agents with a cadence are."""
    if not states:
        if total.last_at is None:
            return Liveness.NEVER
        return Liveness.LIVE if now - total.last_at <= UNKNOWN_AGENT_ALLOWANCE else Liveness.LATE
    for state in (Liveness.LIVE, Liveness.CLOSED):
        if state in states:
            return state
    return Liveness.LATE if Liveness.LATE in states and not is_silent else Liveness.SILENT


def _figures(recent: queries.Recent | None, week: list[queries.Hour], now: datetime) -> ArrivalFigures:
    day = [hour for hour in week if hour.since > now - CHART_PERIOD]
    return ArrivalFigures(
        minute=recent.minute if recent else 0,
        hour=recent.hour if recent else 0,
        day=sum(hour.accepted for hour in day),
        duplicates=sum(hour.duplicates for hour in day),
        refused=sum(hour.refused for hour in day),
        first_at=min((hour.since for hour in week), default=None),
        last_at=max((hour.last_at for hour in week), default=None),
        lags=recent.lags if recent else ArrivalFigures().lags,
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
