"""Signals as agents send them, and what the tests ask of the tables."""

import json
from datetime import UTC, datetime
from typing import Any

from django.db import connection

from aggregator.arrivals.rollups import RollupFollower
from aggregator.ledger import Entry, Result, record
from ecosystems import signing
from tests.servers import WEBHOOK_SECRET


def signal(signal_id: str = "s1", **fields: Any) -> dict[str, Any]:
    """A signal as the first generation of agents makes it; `fields` override."""
    return {
        "signal_id": signal_id,
        "ecosystem": "crypto",
        "timestamp": "2026-01-02T03:04:05.123456",
        "symbol": "BTCUSDT",
        "action": "BUY",
        "signal_type": "MARKET",
        "entry_price": 64000.12,
        "stop_loss": None,
        "take_profit": None,
        "volume": 0.25,
        "confidence": 0.8,
        "agent_source": "bot-1",
        "tags": ["ema"],
        "raw_payload": {"rsi": 27.35},
    } | fields


def raw(signal_id: str = "s1", **fields: Any) -> bytes:
    return json.dumps(signal(signal_id, **fields)).encode()


def entry(signal_id: str = "s1", **fields: Any) -> Entry:
    return Entry(raw(signal_id, **fields))


def record_and_count(entries: list[Entry], transport: str) -> list[Result]:
    """Record entries, and count them as the worker's follower does."""
    results = record(entries, transport)
    RollupFollower().catch_up()
    return results


def signed(body: bytes, secret: str = WEBHOOK_SECRET, message_id: str = "msg_1") -> dict[str, str]:
    """Headers of a request that passes."""
    now = int(datetime.now(UTC).timestamp())
    return {"Content-Type": "application/json", **signing.headers(secret, message_id, now, body)}


def insert(cursor: Any, signal_id: str, ecosystem: str = "crypto", symbol: str = "BTCUSDT") -> None:
    """Insert the least that a row needs, as an agent in any language would."""
    cursor.execute(
        'INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action) '
        "VALUES (%s, %s, '2026-01-02T03:04:05Z', %s, 'buy')",
        [signal_id, ecosystem, symbol],
    )


def rows(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def value(query: str, *parameters: Any) -> Any:
    return rows(query, *parameters)[0][0]
