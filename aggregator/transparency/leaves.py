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


_TIMES = ("decided_at", "entered_at", "exited_at", "scored_to")
_DECIMALS = (
    "horizon_hours", "fee_bps", "entry_price", "exit_price", "gross_return", "net_return", "r_multiple",
    "mfe_r", "mae_r",
)  # fmt: skip
_PLAIN = (
    "id", "position", "cause", "decided_by", "feed", "seconds", "outlier", "rule_version", "state",
    "exit_reason", "ambiguous",
)  # fmt: skip
# A leaf of version 1 commits to these columns: one that is added to the table later is not among them.
EVENT_FIELDS = (*_PLAIN, *_DECIMALS, *_TIMES)

EVENTS = f"""
    SELECT event.position, to_char(decided_at AT TIME ZONE 'UTC', {_MICROSECONDS}), ecosystem, agent_source,
        {", ".join(f"event.{name}" for name in _PLAIN)},
        {", ".join(f"trim_scale(event.{name})::text" for name in _DECIMALS)},
        {", ".join(f"to_char(event.{name} AT TIME ZONE 'UTC', {_MICROSECONDS})" for name in _TIMES)}
    FROM outcome_events AS event JOIN trading_signals USING (position)"""


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
    """A signal of the ledger, or an outcome event, as the log sees it."""

    position: int
    """Of the signal; of an event, that of its call."""
    recorded_at: str
    """With microseconds and a Z."""
    ecosystem: str
    agent_source: str
    name: str
    """What an operator finds it by."""
    content: bytes
    event: int | None = None


_encode = msgspec.json.Encoder(order="sorted").encode
_decode_tags = msgspec.json.Decoder(list[str]).decode


def recorded_signals(cursor: Any, condition: str, parameters: Mapping[str, Any]) -> list[Recorded]:
    """Return the recorded signals for which a condition holds, in order of position."""
    cursor.execute(f"{SIGNALS} WHERE {condition} ORDER BY position", parameters)
    return [_recorded(row) for row in cursor.fetchall()]


def recorded_events(cursor: Any, condition: str, parameters: Mapping[str, Any]) -> list[Recorded]:
    """Return the outcome events for which a condition holds, in order; at most `limit` of them."""
    cursor.execute(f"{EVENTS} WHERE {condition} ORDER BY event.id LIMIT %(limit)s", parameters)
    return [_event(row) for row in cursor.fetchall()]


def _event(row: tuple[Any, ...]) -> Recorded:
    position, decided_at, ecosystem, agent_source, *values = row
    content = dict(zip(EVENT_FIELDS, values, strict=True))
    content |= {name: content[name] and _readers_time(content[name]) for name in _TIMES}
    name = f"outcome event {content['id']} of position {position}"
    encoded = _encode(content)
    return Recorded(position, f"{decided_at}Z", ecosystem, agent_source, name, encoded, content["id"])


def _readers_time(written: str) -> str:
    """Return a time as readers get it."""
    return f"{written.removesuffix('.000000')}Z"


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
        timestamp=_readers_time(timestamp),
        volume=volume,
    )
    name = f"{ecosystem}/{signal_id} at position {position}"
    return Recorded(position, f"{recorded_at}Z", ecosystem, agent_source, name, _encode(content))


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
