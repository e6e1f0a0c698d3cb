"""Signals to publish in tests."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from ecosystems.signal import Signal


def a_signal(signal_id: str = "s-1", **fields: Any) -> Signal:
    """A valid signal with every field set; `fields` override."""
    values: dict[str, Any] = {
        "ecosystem": "crypto",
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
        "symbol": "BTC/USDT",
        "action": "BUY",
        "signal_type": "LIMIT",
        "entry_price": Decimal("64000.123456789012345678"),
        "stop_loss": Decimal("63000"),
        "take_profit": Decimal("66000.5"),
        "volume": Decimal("0.25"),
        "confidence": 0.75,
        "agent_source": "tester",
        "tags": ("ema", "1h"),
        "raw_payload": {"ema": {"fast": 12, "slow": 26}},
    }
    return Signal(signal_id=signal_id, **(values | fields))


def signals(count: int, prefix: str = "s", **fields: Any) -> list[Signal]:
    """Signals with the ids `s-0`, `s-1` and so on."""
    return [a_signal(f"{prefix}-{number}", **fields) for number in range(count)]
