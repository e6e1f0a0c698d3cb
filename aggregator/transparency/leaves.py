"""Leaves: what the log commits to for each recorded signal.

`commitment` hides the content behind a nonce, and `agent` the agent's name behind a salt, until the operator
or a reader discloses them. All JSON here is canonical (RFC 8785): the fields are in order, and only the
confidence is a number with a fraction.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import rfc8785

NONCE_BYTES = 32
SALT_BYTES = 32

_MICROSECONDS = "'YYYY-MM-DD\"T\"HH24:MI:SS.US'"

# Text, as Postgres writes it: parsing decimals and times here would take longer than all the rest.
SIGNALS = f"""
    SELECT position, to_char(recorded_at AT TIME ZONE 'UTC', {_MICROSECONDS}), ecosystem, agent_source,
        signal_id, to_char("timestamp" AT TIME ZONE 'UTC', {_MICROSECONDS}), symbol, action, refers_to,
        signal_type, trim_scale(entry_price)::text, trim_scale(stop_loss)::text,
        trim_scale(take_profit)::text, trim_scale(volume)::text, confidence, tags::text, raw_payload::text
    FROM trading_signals"""


class SignalContent(msgspec.Struct, frozen=True, kw_only=True):
    """The signal as readers get it, without `instrument`, which an operator may map later."""

    action: str
    agent_source: str
    confidence: msgspec.Raw
    ecosystem: str
    entry_price: str | None
    raw_payload: str
    """The database's text: its numbers may have more digits than a float."""
    refers_to: str | None
    signal_id: str
    signal_type: str
    stop_loss: str | None
    symbol: str
    tags: list[str]
    take_profit: str | None
    timestamp: str
    volume: str | None


class LeafData(msgspec.Struct, frozen=True, kw_only=True):
    """What is hashed into the tree."""

    agent: str
    commitment: str
    kind: str
    position: int
    recorded_at: str
    v: int = 1


@dataclass(frozen=True, slots=True)
class Recorded:
    """A row of the ledger, as the log sees it."""

    position: int
    recorded_at: str
    """With microseconds and a Z."""
    ecosystem: str
    agent_source: str
    signal_id: str
    content: bytes

    @property
    def name(self) -> str:
        return f"{self.ecosystem}/{self.signal_id} at position {self.position}"


_encode = msgspec.json.Encoder(order="sorted").encode
_decode_tags = msgspec.json.Decoder(list[str]).decode


def recorded_signals(cursor: Any, condition: str, parameters: Mapping[str, Any]) -> list[Recorded]:
    """Return the recorded signals for which a condition holds, in order of position."""
    cursor.execute(f"{SIGNALS} WHERE {condition} ORDER BY position", parameters)
    return [_recorded(row) for row in cursor.fetchall()]


def _recorded(row: tuple[Any, ...]) -> Recorded:
    position, recorded_at, ecosystem, agent_source, signal_id, timestamp, symbol, action, refers_to = row[:9]
    signal_type, entry_price, stop_loss, take_profit, volume, confidence, tags, raw_payload = row[9:]
    content = SignalContent(
        action=action,
        agent_source=agent_source,
        confidence=_number(confidence),
        ecosystem=ecosystem,
        entry_price=entry_price,
        raw_payload=raw_payload,
        refers_to=refers_to,
        signal_id=signal_id,
        signal_type=signal_type,
        stop_loss=stop_loss,
        symbol=symbol,
        tags=_decode_tags(tags),
        take_profit=take_profit,
        timestamp=f"{timestamp.removesuffix('.000000')}Z",
        volume=volume,
    )
    return Recorded(position, f"{recorded_at}Z", ecosystem, agent_source, signal_id, _encode(content))


@lru_cache(maxsize=4096)
def _number(confidence: float | None) -> msgspec.Raw:
    return msgspec.Raw(rfc8785.dumps(confidence))


def commitment(nonce: bytes, content: bytes) -> bytes:
    return hashlib.sha256(nonce + content).digest()


def leaf_data(agent: bytes, committed: bytes, kind: str, position: int, recorded_at: str) -> bytes:
    """Return what is hashed into the tree, and published."""
    return _encode(
        LeafData(
            agent=agent.hex(),
            commitment=committed.hex(),
            kind=kind,
            position=position,
            recorded_at=recorded_at,
        )
    )
