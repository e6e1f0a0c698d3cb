"""The signals that all contestants get: seeded, and alike in size to what agents send."""

import json
import random
import time
from datetime import UTC, datetime
from typing import Any

from benchmarks.stage import SECRET
from ecosystems import signing
from ecosystems.signal import Signal, parse

SYMBOLS = {
    "crypto": ("BTCUSDT", "ETH-USDT", "SOL/USDT"),
    "forex": ("EURUSD", "GBP_USD"),
    "stock": ("AAPL", "NASDAQ:MSFT"),
}


def payloads(count: int, prefix: str) -> list[bytes]:
    """Return the JSON of `count` signals with ids that begin with `prefix`."""
    source = random.Random(prefix)
    return [json.dumps(_signal(source, f"{prefix}-{number:08d}")).encode() for number in range(count)]


def signals(count: int, prefix: str) -> list[Signal]:
    return [signal for payload in payloads(count, prefix) if isinstance(signal := parse(payload), Signal)]


def _signal(source: random.Random, signal_id: str) -> dict[str, Any]:
    ecosystem = source.choice(list(SYMBOLS))
    price = round(source.uniform(1, 60_000), 2)
    return {
        "signal_id": signal_id,
        "ecosystem": ecosystem,
        "timestamp": datetime.now(UTC).isoformat(),
        "symbol": source.choice(SYMBOLS[ecosystem]),
        "action": source.choice(("BUY", "SELL")),
        "signal_type": "MARKET",
        "entry_price": price,
        "stop_loss": round(price * 0.98, 2),
        "take_profit": round(price * 1.04, 2),
        "volume": 0.5,
        "confidence": round(source.random(), 3),
        "agent_source": f"{ecosystem}-{source.randrange(5)}",
        "tags": ["ema"],
        "raw_payload": {"rsi": round(source.uniform(0, 100), 2), "fast": 12, "slow": 26},
    }


def requests(count: int, size: int, prefix: str) -> list[bytes]:
    """Return signed HTTP requests of `size` signals each, ready to be written to a socket."""
    bodies = payloads(count * size, prefix)
    prepared = []
    for number in range(count):
        part = bodies[number * size : (number + 1) * size]
        body = part[0] if size == 1 else b"[" + b",".join(part) + b"]"
        headers = {
            "Host": "127.0.0.1",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **signing.headers(SECRET, f"{prefix}_{number}", int(time.time()), body),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        prepared.append(f"POST /api/signals HTTP/1.1\r\n{head}\r\n".encode() + body)
    return prepared
