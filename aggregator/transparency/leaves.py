"""Leaves: what the log commits to for each recorded signal.

`commitment` hides the content behind a nonce, and `agent` the agent's name behind a salt, until the operator
or a reader discloses them. All JSON here is canonical (RFC 8785): the fields are in order, and only the
confidence is a number with a fraction.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import rfc8785

NONCE_BYTES = 32
SALT_BYTES = 32


def to_microseconds(column: str) -> str:
    """Return the SQL of a time as leaves have it."""
    return f"""to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""


def _columns(table: str, plain: Sequence[str], decimals: Sequence[str], times: Sequence[str]) -> str:
    """Return the SQL of columns as readers get them.

    Decimals and times are text, as Postgres writes it: parsing them here would take longer than all the rest.
    """
    return ", ".join(
        [
            *(f"{table}.{name}" for name in plain),
            *(f"trim_scale({table}.{name})::text" for name in decimals),
            *(f"replace({to_microseconds(f'{table}.{name}')}, '.000000Z', 'Z')" for name in times),
        ]
    )


# Without `instrument`, which an operator may map later.
_SIGNAL_PLAIN = (
    "action", "agent_source", "confidence", "ecosystem", "refers_to", "signal_id", "signal_type", "symbol",
)  # fmt: skip
_SIGNAL_DECIMALS = ("entry_price", "stop_loss", "take_profit", "volume")
# The payload is the database's text: its numbers may have more digits than a float.
SIGNAL_FIELDS = (*_SIGNAL_PLAIN, *_SIGNAL_DECIMALS, "timestamp", "tags", "raw_payload")

SIGNALS = f"""
    SELECT position, {to_microseconds("recorded_at")},
        {_columns("signal", _SIGNAL_PLAIN, _SIGNAL_DECIMALS, ["timestamp"])}, tags::text, raw_payload::text
    FROM trading_signals AS signal"""

_EVENT_PLAIN = (
    "id", "position", "cause", "decided_by", "feed", "seconds", "outlier", "rule_version", "state",
    "exit_reason", "ambiguous",
)  # fmt: skip
_EVENT_DECIMALS = (
    "horizon_hours", "fee_bps", "entry_price", "exit_price", "gross_return", "net_return", "r_multiple",
    "mfe_r", "mae_r",
)  # fmt: skip
_EVENT_TIMES = ("decided_at", "entered_at", "exited_at", "scored_to")
# A leaf of version 1 commits to these columns: one that is added to the table later is not among them.
EVENT_FIELDS = (*_EVENT_PLAIN, *_EVENT_DECIMALS, *_EVENT_TIMES)

EVENTS = f"""
    SELECT {to_microseconds("decided_at")}, ecosystem, agent_source,
        {_columns("event", _EVENT_PLAIN, _EVENT_DECIMALS, _EVENT_TIMES)}
    FROM outcome_events AS event JOIN trading_signals USING (position)"""


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
    found = []
    for position, recorded_at, *values in cursor.fetchall():
        content = dict(zip(SIGNAL_FIELDS, values, strict=True))
        content["confidence"] = _number(content["confidence"])
        content["tags"] = _decode_tags(content["tags"])
        ecosystem, agent_source = content["ecosystem"], content["agent_source"]
        name = f"{ecosystem}/{content['signal_id']} at position {position}"
        found.append(Recorded(position, recorded_at, ecosystem, agent_source, name, _encode(content)))
    return found


def recorded_events(cursor: Any, condition: str, parameters: Mapping[str, Any]) -> list[Recorded]:
    """Return the outcome events for which a condition holds, in order; at most `limit` of them."""
    cursor.execute(f"{EVENTS} WHERE {condition} ORDER BY event.id LIMIT %(limit)s", parameters)
    found = []
    for decided_at, ecosystem, agent_source, *values in cursor.fetchall():
        content = dict(zip(EVENT_FIELDS, values, strict=True))
        event, position = content["id"], content["position"]
        name = f"outcome event {event} of position {position}"
        encoded = _encode(content)
        found.append(Recorded(position, decided_at, ecosystem, agent_source, name, encoded, event))
    return found


@lru_cache(maxsize=4096)
def _number(confidence: float | None) -> msgspec.Raw:
    return msgspec.Raw(rfc8785.dumps(confidence))


def commitment(nonce: bytes, content: bytes) -> bytes:
    return hashlib.sha256(nonce + content).digest()
