"""Heartbeats: analytics signals that advise nothing, so that a silent agent differs from a dead one.

They are sent like every signal, and the hub records when it last received one of an agent. Each announces
when the next one comes, so that the hub notices a dead agent before it has learned how often that sends.
"""

import hashlib
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ecosystems.signal import Signal

if TYPE_CHECKING:
    from ecosystems.strategies import Strategy

TAG = "heartbeat"
INTERVAL = "interval"
"""The key in `raw_payload` of the seconds until the next heartbeat."""
MAX_INTERVAL_S = 30 * 86_400


def heartbeat(strategy: "Strategy[Any]", at: datetime, interval: timedelta) -> Signal:
    """Return the heartbeat for a time.

    Its id follows from its content, so that an agent that is restarted repeats it harmlessly.
    """
    seconds = round(interval.total_seconds(), 3)
    facts = "\n".join(
        (strategy.agent, strategy.ecosystem, strategy.symbol, strategy.timeframe, strategy.name, str(seconds))
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
        raw_payload={"strategy": strategy.name, "timeframe": strategy.timeframe, INTERVAL: seconds},
    )
