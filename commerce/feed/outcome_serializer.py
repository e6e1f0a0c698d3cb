"""An outcome as readers get it, the same over REST, streams and webhooks."""

from datetime import datetime
from typing import Any

import msgspec

from aggregator.models import Outcome, OutcomeEvent, TradingSignal
from commerce.feed import cursors
from ecosystems.signal import decimal_text


class PublicOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a call. Prices and figures are decimal strings."""

    cursor: str
    """The call's, as in the feed."""
    position: int
    signal_id: str
    ecosystem: str
    agent_source: str
    instrument: str
    action: str
    signal_type: str
    simulated: bool
    recorded_at: datetime
    state: str
    exit_reason: str | None
    entered_at: datetime | None
    entry_price: str | None
    exited_at: datetime | None
    exit_price: str | None
    gross_return: str | None
    net_return: str | None
    r_multiple: str | None
    mfe_r: str | None
    mae_r: str | None
    ambiguous: bool
    scored_to: datetime | None
    horizon_hours: str
    rule_version: int


_AS_THEY_ARE = ("state", "exit_reason", "entered_at", "exited_at", "ambiguous", "scored_to", "rule_version")
_NUMBERS = ("entry_price", "exit_price", "gross_return", "net_return", "r_multiple", "mfe_r", "mae_r")


def serialize_outcome(call: TradingSignal, decided: Outcome | OutcomeEvent) -> PublicOutcome:
    """Return what a reader gets of a call: `decided` is the outcome, or an event of it."""
    values: dict[str, Any] = {name: getattr(decided, name) for name in _AS_THEY_ARE}
    values |= {name: decimal_text(getattr(decided, name)) for name in _NUMBERS}
    assert call.position is not None
    assert call.recorded_at is not None
    return PublicOutcome(
        cursor=cursors.encode(call.position),
        position=call.position,
        signal_id=call.signal_id,
        ecosystem=call.ecosystem,
        agent_source=call.agent_source,
        instrument=call.instrument,
        action=call.action,
        signal_type=call.signal_type,
        simulated=bool(call.simulation),
        recorded_at=call.recorded_at,
        horizon_hours=decimal_text(decided.horizon_hours) or "",
        **values,
    )
