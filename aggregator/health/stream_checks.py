"""The checks of the streams in Redis."""

from dataclasses import replace

from aggregator.health.checks import Degraded, Failed
from aggregator.health.database_checks import DatabaseDependentCheck
from aggregator.ingest import stream_state
from aggregator.ledger.entries import TRIMMED_UNREAD
from ecosystems.env import Environment


class StreamCheck(DatabaseDependentCheck):
    """One stream is read to its end, and nothing of it was lost. Its Redis client never hangs."""

    def __init__(self, environment: Environment, topic: str) -> None:
        super().__init__(f"stream:{topic}")
        self.environment = replace(environment, stream_topics=(topic,))

    def run(self) -> tuple[str, str]:
        state = stream_state.stream_states(self.environment)[0]
        if state.error:
            raise Failed("cannot be read", state.error)
        if state.is_full:
            raise Failed(
                "nothing can be added any more",
                f"it holds the greatest id that there can be: once lag and pending are 0, DEL {state.stream};"
                " the hub makes it anew. Take the right to add there from who added it",
            )
        if state.trimmed_unread:
            raise Failed(
                "entries were trimmed before they were read",
                f"at least {state.trimmed_unread}; raise the stream's cap, then resolve the dead letters"
                f" {TRIMMED_UNREAD}",
            )
        if state.trimmed_unread is None:
            raise Degraded("unknown without the database whether entries were lost")
        oldest = state.oldest_pending_s or 0.0
        detail = (
            f"lag {'' if state.lag_exact else 'about '}{state.lag}, pending {state.pending}"
            f" (oldest {oldest:.0f} s), consumers {state.consumers}, length {state.length}"
        )
        if state.lag and not state.consumers:
            raise Degraded("no consumers", detail)
        if state.is_behind:
            raise Degraded("behind", detail)
        return "", detail
