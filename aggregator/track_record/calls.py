"""From the ledger to calls: begin an outcome for each, and note what ends or amends one.

Only the scorer changes an outcome after that. What it has to look at again is requested here, by rows that
are only inserted, so that nothing here waits for scoring.
"""

from typing import Any

from django.conf import settings

from ecosystems.market.feeds import REPLAY, SYNTHETIC
from ecosystems.market.open_hours import later
from ecosystems.market.scoring import FEE_BPS, FILL_HOURS, HORIZON_HOURS, RULE_VERSION, hours

# A closing or amending signal counts whatever its type, a call only as an order. t0 is never the timestamp of
# a real signal, which can be set back.
_SIGNALS = """(
        SELECT *, CASE WHEN simulated THEN "timestamp" ELSE recorded_at END AS t0,
            action <> 'CLOSE' AND refers_to IS NULL AS is_call
        FROM (SELECT *, tags ?| %(tags)s AS simulated FROM trading_signals) AS ledger
        WHERE position > %(after)s AND position <= %(upto)s AND (action = 'CLOSE'
            OR action IN ('BUY', 'SELL')
                AND (refers_to IS NOT NULL OR signal_type IN ('MARKET', 'LIMIT', 'STOP')))
        ) AS signal"""

CALLS = f"SELECT position, ecosystem, t0 FROM {_SIGNALS} WHERE is_call ORDER BY position"

# The horizon that was set before the call was recorded; the feed that an operator had chosen, where the
# outcomes are made anew.
BEGIN = f"""
    INSERT INTO outcomes (position, ecosystem, agent_source, instrument, side, simulated, t0, lag, fill_by,
        horizon_hours, fee_bps, rule_version, chosen_series_id, chosen_by)
    SELECT position, ecosystem, agent_source, instrument, CASE action WHEN 'BUY' THEN 1 ELSE -1 END,
        simulated, t0, recorded_at - "timestamp", fill_by, coalesce(horizon.hours, horizon_hours),
        fee_bps, %(rule_version)s, chosen.series_id, coalesce(chosen.decided_by, '')
    FROM unnest(%(positions)s::bigint[], %(fill_by)s::timestamptz[], %(horizon_hours)s::numeric[],
        %(fee_bps)s::numeric[]) AS terms (position, fill_by, horizon_hours, fee_bps)
    JOIN {_SIGNALS} USING (position)
    LEFT JOIN LATERAL (
        SELECT hours FROM agent_horizons AS known
        WHERE known.ecosystem = signal.ecosystem AND known.agent_source = signal.agent_source
            AND known.set_at < signal.recorded_at
        ORDER BY known.set_at DESC, known.id DESC LIMIT 1) AS horizon ON true
    LEFT JOIN LATERAL (
        SELECT series.id AS series_id, event.decided_by FROM outcome_events AS event
        JOIN price_series AS series ON series.feed = event.feed AND series.seconds = event.seconds
            AND series.ecosystem = signal.ecosystem AND series.instrument = signal.instrument
        WHERE event.position = signal.position AND event.cause = 'feed'
        ORDER BY event.id DESC LIMIT 1) AS chosen ON true
    ON CONFLICT (position) DO NOTHING"""

ADD_CHANGES = f"""
    INSERT INTO call_changes (position, ecosystem, agent_source, instrument, simulated, t0, action, refers_to,
        stop_loss, take_profit)
    SELECT position, ecosystem, agent_source, instrument, simulated, t0, action, refers_to, stop_loss,
        take_profit
    FROM {_SIGNALS} WHERE NOT is_call
    ON CONFLICT (position) DO NOTHING"""

# What refers to a call concerns the instrument of that call, whatever its own symbol says.
REQUEST = f"""
    INSERT INTO scoring_requests (ecosystem, instrument, agent_source, first_at, last_at)
    SELECT ecosystem, coalesce(call.instrument, signal.instrument), agent_source, min(t0), max(t0)
    FROM {_SIGNALS}
    LEFT JOIN LATERAL (
        SELECT instrument FROM trading_signals AS known
        WHERE known.ecosystem = signal.ecosystem AND known.signal_id = signal.refers_to) AS call ON true
    GROUP BY 1, 2, 3"""


def take_in(cursor: Any, after: int, upto: int) -> None:
    """Begin the outcomes of the calls in a part of the ledger, and request their scoring.

    In the caller's transaction. Signals that were taken in before change nothing.
    """
    part = {"after": after, "upto": upto, "tags": [SYNTHETIC, REPLAY]}
    cursor.execute(CALLS, part)
    calls = cursor.fetchall()
    fees = FEE_BPS | dict(settings.ENVIRONMENT.fee_bps)
    terms = {
        "rule_version": RULE_VERSION,
        "positions": [position for position, _, _ in calls],
        "fill_by": [later(ecosystem, t0, hours(FILL_HOURS)) for _, ecosystem, t0 in calls],
        "horizon_hours": [HORIZON_HOURS[ecosystem] for _, ecosystem, _ in calls],
        "fee_bps": [fees[ecosystem] for _, ecosystem, _ in calls],
    }
    cursor.execute(BEGIN, part | terms)
    cursor.execute(ADD_CHANGES, part)
    cursor.execute(REQUEST, part)
