"""The tables of the hub, by subject."""

from aggregator.models.agents import Agent, AgentCadence
from aggregator.models.alerts import Alert, AlertChannel, AlertNotification, AlertPolicy
from aggregator.models.api_keys import ApiKey
from aggregator.models.arrivals import ArrivalHour, ArrivalMinute, ArrivalTotal, SenderMinute
from aggregator.models.choices import ECOSYSTEM_CHOICES, TRANSPORT_CHOICES
from aggregator.models.dead_letters import DeadLetter, DeadLetterBytes
from aggregator.models.followers import FollowerCursor
from aggregator.models.generations import LedgerGeneration
from aggregator.models.signals import RepeatedRow, Sighting, TradingSignal
from aggregator.models.sources import HookBody, Source
from aggregator.models.symbol_aliases import SymbolAlias
from aggregator.models.track_record import (
    STATE_CHOICES,
    AgentHorizon,
    CallChange,
    Outcome,
    OutcomeEvent,
    PricedInstrument,
    PriceRecording,
    PriceSeries,
    ScoringRequest,
    StoredCandle,
)
from aggregator.models.transparency import LogAgent, LogAnchor, LogLeaf, LogTile, TransparencyLog
from aggregator.models.worker import PeriodicJob, WorkerLoop

__all__ = [
    "ECOSYSTEM_CHOICES",
    "STATE_CHOICES",
    "TRANSPORT_CHOICES",
    "Agent",
    "AgentCadence",
    "AgentHorizon",
    "Alert",
    "AlertChannel",
    "AlertNotification",
    "AlertPolicy",
    "ApiKey",
    "ArrivalHour",
    "ArrivalMinute",
    "ArrivalTotal",
    "CallChange",
    "DeadLetter",
    "DeadLetterBytes",
    "FollowerCursor",
    "HookBody",
    "LedgerGeneration",
    "LogAgent",
    "LogAnchor",
    "LogLeaf",
    "LogTile",
    "Outcome",
    "OutcomeEvent",
    "PeriodicJob",
    "PriceRecording",
    "PriceSeries",
    "PricedInstrument",
    "RepeatedRow",
    "ScoringRequest",
    "SenderMinute",
    "Sighting",
    "Source",
    "StoredCandle",
    "SymbolAlias",
    "TradingSignal",
    "TransparencyLog",
    "WorkerLoop",
]
