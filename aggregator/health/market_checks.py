"""Checks of each market: its signals come in while it is open, and instruments with calls have prices."""

from django.db import connection
from django.template.defaultfilters import pluralize

from aggregator.arrivals.silence import AgentCounts, Judge
from aggregator.health.checks import CheckResult, Degraded, Status
from aggregator.health.database_checks import DatabaseDependentCheck

# Whose record is public, or who pinned the instrument, relies on its prices.
_RELIED_ON = """EXISTS (
        SELECT FROM outcomes AS relying JOIN agents USING (ecosystem, agent_source)
        WHERE relying.ecosystem = {0}.ecosystem AND relying.instrument = {0}.instrument
            AND relying.state IN ('waiting', 'open') AND agents.published_at IS NOT NULL)"""

# A minute's candle is recorded some seconds after its end; an outage of a feed may pass in between.
WITHOUT_PRICES = f"""
    SELECT recording.ecosystem, recording.instrument, recording.error,
        recording.is_pinned OR {_RELIED_ON.format("recording")}
    FROM price_recordings AS recording
    WHERE (recording.failing_since < now() - interval '2 minutes' OR recording.error <> '')
        AND (recording.is_pinned OR EXISTS (
            SELECT FROM outcomes WHERE outcomes.ecosystem = recording.ecosystem
                AND outcomes.instrument = recording.instrument AND state IN ('waiting', 'open')))
    ORDER BY 4 DESC, recording.failing_since NULLS LAST LIMIT 20"""

UNPRICED = f"""
    SELECT *, {_RELIED_ON.format("unpriced")} FROM (
        SELECT ecosystem, instrument, count(*) FROM outcomes
        WHERE state = 'waiting' AND series_id IS NULL AND NOT simulated AND t0 < now() - interval '30 minutes'
        GROUP BY 1, 2) AS unpriced
    ORDER BY 4 DESC, 3 DESC LIMIT 20"""


class FreshnessCheck(DatabaseDependentCheck):
    """An ecosystem is not silent: at least one of its agents keeps its cadence.

    Only degrades, since the hub itself may work. The first run loads a trading calendar, which takes seconds.
    """

    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 15.0
    timeout_s = 11.0

    def __init__(self, ecosystem: str) -> None:
        super().__init__()
        self.name, self.ecosystem = f"freshness:{ecosystem}", ecosystem

    def run(self) -> tuple[str, str]:
        counts = Judge(ecosystems=[self.ecosystem]).counts()
        return found(counts.get(self.ecosystem, AgentCounts()))

    def result_of(self, counts: AgentCounts) -> CheckResult:
        """Return the result that follows from counts which are known already."""
        return self._result_of(lambda: found(counts))


def found(counts: AgentCounts) -> tuple[str, str]:
    """Return the texts of a check result. Raises Degraded where every agent is silent without an excuse."""
    if counts.last_seen is None:
        return "no signals yet", ""
    detail = (
        f"last signal at {counts.last_seen:%Y-%m-%dT%H:%M:%SZ},"
        f" {counts.too_long} of {counts.total} agent{pluralize(counts.total)} silent"
    )
    if not counts.all_silent:
        return "", detail
    if counts.excused:
        return "market closed or just opened", detail
    raise Degraded("silent", detail)


class PricesCheck(DatabaseDependentCheck):
    """The instruments with calls that are waiting or open have prices.

    Only degrades, and that only for what a published record or a pin relies on: many a hub keeps no record.
    """

    name = "prices"
    max_status = Status.DEGRADED
    in_background = True
    fresh_s = 15.0

    def run(self) -> tuple[str, str] | None:
        with connection.cursor() as cursor:
            cursor.execute(WITHOUT_PRICES)
            found = [(f"{name} {what}: {error}", relied) for name, what, error, relied in cursor.fetchall()]
            cursor.execute(UNPRICED)
            found += [
                (f"{name} {what}: {count} calls wait for prices", relied)
                for name, what, count, relied in cursor.fetchall()
            ]
        detail = "; ".join(text for text, _ in found)
        if any(relied for _, relied in found):
            raise Degraded("instruments without prices", detail)
        return ("", detail) if detail else None
