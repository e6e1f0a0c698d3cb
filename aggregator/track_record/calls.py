"""From the ledger to calls: begin an outcome for each, and note what ends or amends one.

Only the scorer changes an outcome after that. What it has to look at again is requested here, by rows that
are only inserted, so that nothing here waits for scoring.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec
from django.conf import settings

from ecosystems.market.feeds import REPLAY, SYNTHETIC
from ecosystems.market.open_hours import later
from ecosystems.market.scoring import FEE_BPS, FILL_HOURS, HORIZON_HOURS, RULE_VERSION, hours

# A closing or amending signal counts whatever its type, a call only as an order.
RELEVANT = """
    SELECT position, ecosystem, agent_source, instrument, action, refers_to, stop_loss, take_profit,
        "timestamp", recorded_at, tags ?| %(tags)s
    FROM trading_signals
    WHERE position > %(after)s AND position <= %(upto)s AND (action = 'CLOSE'
        OR action IN ('BUY', 'SELL')
            AND (refers_to IS NOT NULL OR signal_type IN ('MARKET', 'LIMIT', 'STOP')))
    ORDER BY position"""

# The horizon that was set before the call was recorded; the feed that an operator had chosen, where the
# outcomes are made anew.
BEGIN = """
    INSERT INTO outcomes (position, ecosystem, agent_source, instrument, side, simulated, t0, lag, fill_by,
        horizon_hours, fee_bps, rule_version, chosen_series_id, chosen_by)
    SELECT call.position, call.ecosystem, call.agent_source, call.instrument, call.side, call.simulated,
        call.t0,
        call.recorded_at - call."timestamp", call.fill_by,
        coalesce(horizon.hours, call.horizon_hours), call.fee_bps, %(rule_version)s,
        chosen.series_id, coalesce(chosen.decided_by, '')
    FROM json_to_recordset(%(calls)s::json) AS call (position bigint, ecosystem text, agent_source text,
        instrument text, side smallint, simulated boolean, t0 timestamptz, "timestamp" timestamptz,
        recorded_at timestamptz, fill_by timestamptz, horizon_hours numeric, fee_bps numeric)
    LEFT JOIN LATERAL (
        SELECT hours FROM agent_horizons AS known
        WHERE known.ecosystem = call.ecosystem AND known.agent_source = call.agent_source
            AND known.set_at < call.recorded_at
        ORDER BY known.set_at DESC, known.id DESC LIMIT 1) AS horizon ON true
    LEFT JOIN LATERAL (
        SELECT series.id AS series_id, event.decided_by FROM outcome_events AS event
        JOIN price_series AS series ON series.feed = event.feed AND series.seconds = event.seconds
            AND series.ecosystem = call.ecosystem AND series.instrument = call.instrument
        WHERE event.position = call.position AND event.cause = 'feed'
        ORDER BY event.id DESC LIMIT 1) AS chosen ON true
    ON CONFLICT (position) DO NOTHING"""

ADD_CHANGES = """
    INSERT INTO call_changes (position, ecosystem, agent_source, instrument, simulated, t0, action, refers_to,
        stop_loss, take_profit)
    SELECT position, ecosystem, agent_source, instrument, simulated, t0, action, refers_to, stop_loss,
        take_profit
    FROM json_to_recordset(%(changes)s::json) AS change (position bigint, ecosystem text, agent_source text,
        instrument text, simulated boolean, t0 timestamptz, action text, refers_to text, stop_loss numeric,
        take_profit numeric)
    ON CONFLICT (position) DO NOTHING"""

# What refers to a call concerns the instrument of that call, whatever its own symbol says.
REQUEST = """
    INSERT INTO scoring_requests (ecosystem, instrument, agent_source, first_at, last_at)
    SELECT ecosystem, coalesce(call.instrument, signal.instrument), agent_source, min(t0), max(t0)
    FROM json_to_recordset(%(signals)s::json) AS signal (ecosystem text, agent_source text, instrument text,
        refers_to text, t0 timestamptz)
    LEFT JOIN LATERAL (
        SELECT instrument FROM trading_signals AS known
        WHERE known.ecosystem = signal.ecosystem AND known.signal_id = signal.refers_to) AS call ON true
    GROUP BY 1, 2, 3"""


class LedgerSignal(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A call, or a signal that ends or amends one, as the ledger has it."""

    position: int
    ecosystem: str
    agent_source: str
    instrument: str
    action: str
    refers_to: str | None
    stop_loss: Decimal | None
    take_profit: Decimal | None
    timestamp: datetime
    recorded_at: datetime
    simulated: bool
    t0: datetime | None = None
    side: int | None = None
    fill_by: datetime | None = None
    horizon_hours: Decimal | None = None
    fee_bps: Decimal | None = None

    @property
    def is_call(self) -> bool:
        return self.action != "CLOSE" and self.refers_to is None


def take_in(cursor: Any, after: int, upto: int) -> int:
    """Begin the outcomes of the calls in a part of the ledger; return how many signals concerned any.

    In the caller's transaction. Signals that were taken in before change nothing.
    """
    fee_bps = FEE_BPS | dict(settings.ENVIRONMENT.fee_bps)
    cursor.execute(RELEVANT, {"after": after, "upto": upto, "tags": [SYNTHETIC, REPLAY]})
    signals = [_with_terms(LedgerSignal(*row), fee_bps) for row in cursor.fetchall()]
    if not signals:
        return 0
    if calls := [signal for signal in signals if signal.is_call]:
        cursor.execute(BEGIN, {"calls": _json(calls), "rule_version": RULE_VERSION})
    if changes := [signal for signal in signals if not signal.is_call]:
        cursor.execute(ADD_CHANGES, {"changes": _json(changes)})
    cursor.execute(REQUEST, {"signals": _json(signals)})
    return len(signals)


def _with_terms(signal: LedgerSignal, fee_bps: Mapping[str, Decimal]) -> LedgerSignal:
    """Return the signal with its t0 and, for a call, what it is scored by."""
    # Never the timestamp of a real signal, which can be set back.
    t0 = signal.timestamp if signal.simulated else signal.recorded_at
    if not signal.is_call:
        return msgspec.structs.replace(signal, t0=t0)
    return msgspec.structs.replace(
        signal,
        t0=t0,
        side=1 if signal.action == "BUY" else -1,
        fill_by=later(signal.ecosystem, t0, hours(FILL_HOURS)),
        horizon_hours=HORIZON_HOURS[signal.ecosystem],
        fee_bps=fee_bps[signal.ecosystem],
    )


def _json(signals: Iterable[LedgerSignal]) -> str:
    return msgspec.json.encode(list(signals)).decode()
