"""Heartbeats: analytics signals that advise nothing, so that a silent agent differs from a dead one.

They are sent like every signal, and the hub records when it last received one of an agent.
"""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ecosystems.signal import Signal

if TYPE_CHECKING:
    from ecosystems.strategies import Strategy

TAG = "heartbeat"


def heartbeat(strategy: "Strategy[Any]", at: datetime) -> Signal:
    """Return the heartbeat for a time.

    Its id follows from the time, so that an agent that is restarted repeats it harmlessly.
    """
    facts = (
        f"{strategy.agent}\n{strategy.ecosystem}\n{strategy.symbol}\n{strategy.timeframe}\n{strategy.name}"
    )
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    return Signal(
        signal_id=f"{TAG}:{digest}:{at:%Y%m%dT%H%M%SZ}",
        ecosystem=strategy.ecosystem,
        timestamp=at,
        symbol=strategy.symbol,
        action="HOLD",
        signal_type="ANALYTICS",
        agent_source=strategy.agent,
        tags=(TAG, *strategy.tags),
        raw_payload={"strategy": strategy.name, "timeframe": strategy.timeframe},
    )
