"""What a careful author would check with the usual tools: the contract's signature and its fields."""

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import pydantic

INSERT = """
    INSERT INTO peer_signals (signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price,
        stop_loss, take_profit, volume, confidence, agent_source, tags, raw_payload, transport)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13::jsonb, $14::jsonb, $15)
    ON CONFLICT (ecosystem, signal_id) DO NOTHING"""

Price = pydantic.condecimal(gt=Decimal(0), lt=Decimal(10) ** 18)


class Signal(pydantic.BaseModel):
    signal_id: str = pydantic.Field(pattern=r"^[!-~]{1,128}$")
    ecosystem: Literal["crypto", "forex", "stock"]
    timestamp: datetime
    symbol: str = pydantic.Field(pattern=r"^[!-~]{1,64}$")
    action: Literal["BUY", "SELL", "HOLD", "CLOSE"]
    signal_type: Literal["MARKET", "LIMIT", "STOP", "ANALYTICS", "TRADE"] = "MARKET"
    entry_price: Price | None = None  # type: ignore[valid-type]
    stop_loss: Price | None = None  # type: ignore[valid-type]
    take_profit: Price | None = None  # type: ignore[valid-type]
    volume: Decimal | None = None
    confidence: float | None = pydantic.Field(default=None, ge=0, le=1)
    agent_source: str = pydantic.Field(default="", max_length=128)
    tags: list[str] = []
    raw_payload: dict[str, Any] = {}

    def row(self, transport: str) -> tuple[Any, ...]:
        """Return the parameters of INSERT."""
        return (
            self.signal_id,
            self.ecosystem,
            self.timestamp,
            self.symbol,
            self.action,
            self.signal_type,
            self.entry_price,
            self.stop_loss,
            self.take_profit,
            self.volume,
            self.confidence,
            self.agent_source,
            json.dumps(self.tags),
            json.dumps(self.raw_payload),
            transport,
        )


def verified(secret: str, headers: Any, body: bytes) -> bool:
    """Check a Standard Webhooks signature."""
    timestamp = headers["webhook-timestamp"]
    if abs(time.time() - int(timestamp)) > 300:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(expected, given) for given in headers["webhook-signature"].split(" "))
