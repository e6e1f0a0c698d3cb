"""A signal as readers get it, the same over REST, streams and webhooks."""

from datetime import datetime

import msgspec

from aggregator.models import TradingSignal
from commerce.entitlements import Scope
from commerce.feed import cursors
from ecosystems.signal import decimal_text


class PublicSignal(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of the contract's section 2, the canonical instrument, and the signal's own cursor.

    Prices are decimal strings, so that no reader's JSON library turns them into floats. Numbers of the
    payload stay numbers, with all the digits that the agent sent.
    """

    cursor: str
    signal_id: str
    ecosystem: str
    timestamp: datetime
    received_at: datetime
    instrument: str
    symbol: str
    action: str
    refers_to: str | None
    signal_type: str
    entry_price: str | None
    stop_loss: str | None
    take_profit: str | None
    volume: str | None
    confidence: float | None
    agent_source: str
    tags: list[str]
    raw_payload: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """Only where the plan includes it."""


encoder = msgspec.json.Encoder()


def serialize(signal: TradingSignal, scope: Scope) -> PublicSignal:
    """Return what a reader with `scope` gets of a signal from `entitlements.visible`."""
    return PublicSignal(
        cursor=cursors.encode(signal.position or 0),
        signal_id=signal.signal_id,
        ecosystem=signal.ecosystem,
        timestamp=signal.timestamp,
        received_at=signal.received_at,
        instrument=signal.instrument,
        symbol=signal.symbol,
        action=signal.action,
        refers_to=signal.refers_to,
        signal_type=signal.signal_type,
        entry_price=decimal_text(signal.entry_price),
        stop_loss=decimal_text(signal.stop_loss),
        take_profit=decimal_text(signal.take_profit),
        volume=decimal_text(signal.volume),
        confidence=signal.confidence,
        agent_source=signal.agent_source,
        tags=signal.tags,
        raw_payload=_written_payload(signal) if scope.payload else msgspec.UNSET,
    )


def _written_payload(signal: TradingSignal) -> msgspec.Raw:
    return msgspec.Raw(signal.written_payload)  # type: ignore[attr-defined] # an annotation of `visible`
