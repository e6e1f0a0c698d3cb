"""Liveness of agents and ecosystems, from the rollups, the agents' cadences and the trading hours."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from aggregator.arrivals import queries
from aggregator.arrivals.open_hours import OpenTime
from aggregator.arrivals.queries import ArrivalFigures
from aggregator.arrivals.silence import BY_URGENCY, AgentCounts, Judge, Liveness, Silence
from aggregator.background import BackgroundValue
from ecosystems import ECOSYSTEMS
from ecosystems.market import calendars

TRANSPORTS = ("database", "redis", "webhook")
MIN_OPEN_TIME = timedelta(hours=1)
"""How much open time must have passed before a rate is called typical."""
RECENT = timedelta(minutes=15)
"""How long after an arrival an ecosystem counts as live while its agents are not known yet."""


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
    urgent: list[tuple[Silence, queries.AgentDay]]
    """The most urgent ones."""


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
    shown = [(each, days[key]) for each in urgent if (key := (each.ecosystem, each.agent_source)) in days]
    return KnownAgents(judge.counts(), shown)


def current_liveness(
    now: datetime, cache: queries.RollupCache, agents: KnownAgents | None
) -> list[EcosystemLiveness]:
    """Return how each ecosystem stands at `now`.

    `agents` is None while they are being read, or the trading calendars are being loaded.
    """
    figures = cache.figures(now)
    found = []
    for name in ECOSYSTEMS:
        total = figures[name, queries.ALL]
        counts = agents.counts.get(name, AgentCounts()) if agents else None
        found.append(
            EcosystemLiveness(
                name,
                _together(counts, total, now),
                total,
                {transport: figures[name, transport] for transport in TRANSPORTS},
                _typical_hour(name, total, now) if agents else None,
                calendars.is_market_open(name, now) if agents else True,
                calendars.next_market_change(name, now) if agents else None,
                counts,
            )
        )
    return found


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


def _typical_hour(ecosystem: str, total: ArrivalFigures, now: datetime) -> float | None:
    """Return the mean rate of the past week's open hours, without the current one and the first.

    Of both a part may be missing: a new hub began within its first hour.
    """
    if total.first_at is None:
        return None
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    start = total.first_at + timedelta(hours=1)
    past = [accepted for hour, accepted in total.by_hour.items() if start <= hour < this_hour]
    if not past:
        return None
    open_time = OpenTime(ecosystem, start, this_hour).until(this_hour)
    if open_time < MIN_OPEN_TIME:
        return None
    return sum(past) / (open_time / timedelta(hours=1))
