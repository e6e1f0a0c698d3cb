"""The tables of the hub, by subject."""

from aggregator.models.agents import Agent, AgentCadence
from aggregator.models.alerts import Alert, AlertChannel, AlertNotification, AlertPolicy
from aggregator.models.api_keys import ApiKey
from aggregator.models.arrivals import ArrivalHour, ArrivalMinute, ArrivalTotal, SenderMinute
from aggregator.models.dead_letters import DeadLetter, DeadLetterBytes
from aggregator.models.signals import (
    ECOSYSTEM_CHOICES,
    TRANSPORT_CHOICES,
    LedgerGeneration,
    RepeatedRow,
    Sighting,
    TradingSignal,
)
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
from aggregator.models.worker import FollowerCursor, PeriodicJob, WorkerLoop
