"""An agent's sign of life: an analytics signal that advises nothing, so that quiet differs from dead.

It takes the way of every signal, since an agent has no other, and the hub notes when an agent was last heard.
"""

import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ecosystems.signal import Signal

if TYPE_CHECKING:
    from ecosystems.strategies import Strategy

TAG = "heartbeat"


def heartbeat(strategy: "Strategy[Any]", at: datetime) -> Signal:
    """Return the sign of life for a time.

    It follows from the time alone, so that an agent that starts again repeats it harmlessly.
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
