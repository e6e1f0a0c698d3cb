"""The statements of the scorer, with named parameters."""

from collections.abc import Iterable

from ecosystems.market.scoring import Outcome


def _columns(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in names)


NEXT_INSTRUMENT = """
    WITH requested AS (
        SELECT DISTINCT ecosystem, instrument FROM (
            SELECT ecosystem, instrument FROM scoring_requests ORDER BY id LIMIT 1000) AS oldest),
    begun AS (
        INSERT INTO priced_instruments (ecosystem, instrument, score_at)
        SELECT ecosystem, instrument, now() FROM requested
        WHERE NOT EXISTS (SELECT FROM priced_instruments AS known
            WHERE known.ecosystem = requested.ecosystem AND known.instrument = requested.instrument)
        ON CONFLICT DO NOTHING)
    SELECT ecosystem, instrument, statement_timestamp() FROM priced_instruments
    WHERE score_at <= now() OR (ecosystem, instrument) IN (SELECT ecosystem, instrument FROM requested)
    ORDER BY scored_at LIMIT 1 FOR UPDATE SKIP LOCKED"""
"""Lock the instrument that has waited for longest of those of which something may have changed.

One without a row yet gets it, and is found at the next look.
"""

TAKE_REQUESTS = """
    WITH taken AS (
        DELETE FROM scoring_requests WHERE id IN (
            SELECT id FROM scoring_requests WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s
            ORDER BY id LIMIT %(limit)s)
        RETURNING *)
    SELECT feed, seconds, agent_source, array_agg(position) FILTER (WHERE position IS NOT NULL),
        array_agg(ARRAY[first_at, last_at] ORDER BY first_at) FILTER (WHERE first_at IS NOT NULL)
    FROM taken GROUP BY 1, 2, 3 ORDER BY agent_source IS NOT NULL, feed IS NOT NULL, min(id)"""
"""Return first the calls that have moved, then spans of new candles, then of signals, each in their order.

Of two feeds, the one that was on record first has the better claim to a call. Postgres 13 has no `range_agg`,
so spans may overlap.
"""

EXTEND_SERIES = """
    INSERT INTO price_series AS known (ecosystem, instrument, feed, seconds, priced_to)
    VALUES (%(ecosystem)s, %(instrument)s, %(feed)s, %(seconds)s, %(priced_to)s)
    ON CONFLICT (ecosystem, instrument, feed, seconds) DO UPDATE
        SET priced_to = greatest(known.priced_to, excluded.priced_to)
    RETURNING id"""

# Each of the two parts has an index of its own. A candle of another feed than that of an outcome concerns it
# only if that feed has a better claim to it: it is the operator's choice, or was on record first.
MARK_STALE = """
    UPDATE outcomes SET stale = %(cause)s WHERE stale = '' AND position IN (
        SELECT position FROM outcomes
        WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s AND state IN ('waiting', 'open')
            AND t0 <= %(last_at)s AND scored_to > %(first_at)s AND {concerned}
        UNION ALL
        SELECT position FROM outcomes
        WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s AND state NOT IN ('waiting', 'open')
            AND t0 <= %(last_at)s AND scored_to > %(first_at)s AND t0 >= %(kept_since)s AND {concerned})"""

STALE_BY_CANDLES = MARK_STALE.format(
    concerned="""(simulated OR NOT %(synthetic)s)
            AND CASE WHEN chosen_series_id IS NOT NULL THEN chosen_series_id = %(series)s
                ELSE coalesce(series_id, %(series)s) >= %(series)s OR %(synthetic)s END"""
)
STALE_BY_SIGNAL = MARK_STALE.format(concerned="agent_source = %(agent_source)s")

_SYNTHETIC_FEED = """coalesce((
            SELECT tag FROM jsonb_array_elements_text(tags) AS tag
            WHERE tag LIKE 'synthetic:%%' LIMIT 1), 'synthetic')"""
FEED = f"CASE WHEN simulated THEN {_SYNTHETIC_FEED} ELSE 'live' END"
"""The feed of a call's prices, from the outcome's `simulated` and the signal's `tags`."""

# The instrument that the ledger has now is the call's; its prices are needed from the call's t0 on.
MOVE = f"""
    WITH moved AS (
        UPDATE outcomes SET instrument = ledger.instrument, stale = 'instrument', series_id = NULL,
            chosen_series_id = NULL, chosen_by = ''
        FROM trading_signals AS ledger
        WHERE outcomes.position = ANY (%(positions)s) AND ledger.position = outcomes.position
            AND outcomes.instrument <> ledger.instrument
        RETURNING outcomes.ecosystem, outcomes.agent_source, outcomes.instrument, outcomes.t0,
            outcomes.simulated, ledger.tags),
    priced AS (
        INSERT INTO price_recordings AS known (ecosystem, instrument, feed, recorded_to)
        SELECT ecosystem, instrument, {FEED}, min(t0)
        FROM moved WHERE NOT simulated OR tags ? 'synthetic' GROUP BY 1, 2, 3
        ON CONFLICT (ecosystem, instrument, feed) DO UPDATE
            SET recorded_to = least(known.recorded_to, excluded.recorded_to), due_at = now()),
    moved_changes AS (
        UPDATE call_changes SET instrument = ledger.instrument FROM trading_signals AS ledger
        WHERE call_changes.position = ANY (%(positions)s) AND ledger.position = call_changes.position
            AND call_changes.instrument <> ledger.instrument
        RETURNING call_changes.ecosystem, call_changes.agent_source, call_changes.instrument, call_changes.t0)
    INSERT INTO scoring_requests (ecosystem, instrument, agent_source, first_at, last_at)
    SELECT ecosystem, place.instrument, agent_source, min(t0), max(t0)
    FROM (
        SELECT ecosystem, agent_source, instrument, t0 FROM moved
        UNION ALL SELECT * FROM moved_changes) AS each
    CROSS JOIN LATERAL (VALUES (each.instrument), (%(instrument)s)) AS place (instrument)
    GROUP BY 1, 2, 3"""

# A closing or amending signal acts in the order of t0, then of position; a simulated one on no real call.
_ACTS = "(other.t0, other.position) > (call.t0, call.position)"
_OF_AGENT = """other.ecosystem = call.ecosystem AND other.agent_source = call.agent_source
                AND other.instrument = call.instrument"""
_FIRST = "ORDER BY other.t0, other.position LIMIT 1"

KNOWN_COLUMNS = (
    "state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price", "mfe_r", "mae_r",
    "scored_to", "last_close", "daily_r",
)  # fmt: skip
"""What scoring goes on from, or compares its result with."""

DUE_CALLS = f"""
    SELECT call.position, call.simulated, call.series_id, call.chosen_series_id, call.stale,
        ledger.signal_id, ledger.instrument, CASE WHEN ledger.tags ? 'synthetic' THEN {_SYNTHETIC_FEED} END,
        call.ecosystem, call.side, ledger.signal_type, call.t0, ledger.entry_price, ledger.stop_loss,
        ledger.take_profit, call.fee_bps, call.horizon_hours,
        ending.t0, ending.reason, {_columns("call", KNOWN_COLUMNS)}
    FROM outcomes AS call
    JOIN trading_signals AS ledger ON ledger.position = call.position
    LEFT JOIN price_series AS series ON series.id = call.series_id
    LEFT JOIN LATERAL (
        SELECT t0, reason FROM (
            (SELECT t0, position, 'close' AS reason FROM call_changes AS other
            WHERE {_OF_AGENT} AND NOT simulated AND refers_to IS NULL AND {_ACTS} {_FIRST})
            UNION ALL
            (SELECT t0, position, 'close' FROM call_changes AS other
            WHERE call.simulated AND {_OF_AGENT} AND simulated AND refers_to IS NULL AND {_ACTS} {_FIRST})
            UNION ALL
            (SELECT t0, position, 'close' FROM call_changes AS other
            WHERE other.ecosystem = call.ecosystem AND refers_to = ledger.signal_id
                AND other.agent_source = call.agent_source AND action = 'CLOSE'
                AND (call.simulated OR NOT simulated) AND {_ACTS} {_FIRST})
            UNION ALL
            (SELECT t0, position, 'reversal' FROM outcomes AS other
            WHERE {_OF_AGENT} AND side = -call.side AND NOT simulated AND {_ACTS} {_FIRST})
            UNION ALL
            (SELECT t0, position, 'reversal' FROM outcomes AS other
            WHERE call.simulated AND {_OF_AGENT} AND side = -call.side AND simulated AND {_ACTS} {_FIRST})
        ) AS found ORDER BY t0, reason LIMIT 1) AS ending ON true
    WHERE call.ecosystem = %(ecosystem)s AND call.instrument = %(instrument)s
        AND (call.stale <> '' OR call.state IN ('waiting', 'open') AND (
            coalesce(call.scored_to, call.t0) < coalesce(series.priced_to,
                CASE WHEN call.simulated THEN %(priced_to)s ELSE %(really_priced_to)s END::timestamptz)
                AND coalesce(call.scored_to, call.t0) < %(now)s
            OR call.state = 'waiting' AND call.series_id IS NULL AND call.fill_by <= %(now)s))
    ORDER BY call.t0, call.position LIMIT %(limit)s"""
"""Return the calls of an instrument that have to be scored, with what is known of them, oldest first."""

AMENDMENTS = f"""
    SELECT call.position, other.t0, other.stop_loss, other.take_profit
    FROM unnest(%(positions)s::bigint[], %(signal_ids)s::text[]) AS wanted (position, signal_id)
    JOIN outcomes AS call ON call.position = wanted.position
    JOIN call_changes AS other ON other.ecosystem = call.ecosystem AND other.refers_to = wanted.signal_id
    WHERE other.agent_source = call.agent_source
        AND other.action = CASE call.side WHEN 1 THEN 'BUY' ELSE 'SELL' END
        AND (call.simulated OR NOT other.simulated) AND {_ACTS}
    ORDER BY other.t0, other.position"""

COVERING = """
    SELECT call.position, series.id
    FROM unnest(%(positions)s::bigint[]) AS wanted (position)
    JOIN outcomes AS call ON call.position = wanted.position
    JOIN price_series AS series ON series.ecosystem = call.ecosystem AND series.instrument = call.instrument
    WHERE EXISTS (
        SELECT FROM candles WHERE candles.ecosystem = series.ecosystem
            AND candles.instrument = series.instrument
            AND candles.seconds = series.seconds AND candles.feed = series.feed
            AND opened_at >= call.t0 AND opened_at < call.fill_by
            AND opened_at + candles.seconds * interval '1 second' <= %(now)s)"""
"""Return which series have a candle within the time for a fill of each call."""

# Times as microseconds: psycopg needs longer to parse a timestamp than the scorer to follow a candle.
CANDLES = """
    SELECT (extract(epoch FROM opened_at) * 1000000)::bigint, open, high, low, close FROM candles
    WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s AND seconds = %(seconds)s
        AND feed = %(feed)s
        AND opened_at >= %(since)s AND opened_at <= %(until)s
    ORDER BY opened_at LIMIT %(limit)s"""

WRITE = f"""
    UPDATE outcomes SET series_id = result.series_id, stale = '',
        {", ".join(f"{name} = result.{name}" for name in Outcome.__struct_fields__)}
    FROM json_populate_recordset(NULL::outcomes, %(results)s::json) AS result
    WHERE outcomes.position = result.position"""

LOCK_EVENTS = "LOCK TABLE outcome_lock IN EXCLUSIVE MODE"

# An event is what differs from the one before: scoring again that changes nothing leaves none. It is marked
# where a candle at which the call was entered, left or missed reaches far from the close before it.
_TERMS = ("rule_version", "horizon_hours", "fee_bps")
_DECIDED = ("state", "exit_reason", "entered_at", "entry_price", "exited_at", "exit_price", "ambiguous")
_FIGURES = ("gross_return", "net_return", "r_multiple", "mfe_r", "mae_r", "scored_to")

ADD_EVENTS = f"""
    INSERT INTO outcome_events (position, cause, decided_by, feed, seconds, outlier,
        {", ".join((*_TERMS, *_DECIDED, *_FIGURES))})
    SELECT call.position, changed.cause, CASE changed.cause WHEN 'feed' THEN call.chosen_by ELSE '' END,
        coalesce(series.feed, ''), series.seconds, far.off,
        {_columns("call", (*_TERMS, *_DECIDED, *_FIGURES))}
    FROM unnest(%(positions)s::bigint[], %(causes)s::text[]) AS changed (position, cause)
    JOIN outcomes AS call USING (position)
    LEFT JOIN price_series AS series ON series.id = call.series_id
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(greatest(candle.high - before.close, before.close - candle.low)
            > before.close * %(outlier_share)s), false) AS off
        FROM unnest(ARRAY[call.entered_at, call.exited_at, CASE call.state WHEN 'missed'
            THEN call.scored_to - series.seconds * interval '1 second' END]) AS moment (at)
        JOIN candles AS candle ON candle.ecosystem = call.ecosystem AND candle.instrument = call.instrument
            AND candle.opened_at = at AND candle.seconds = series.seconds AND candle.feed = series.feed
        CROSS JOIN LATERAL (
            SELECT close FROM candles AS earlier
            WHERE earlier.ecosystem = call.ecosystem AND earlier.instrument = call.instrument
                AND earlier.opened_at < at AND earlier.seconds = series.seconds AND earlier.feed = series.feed
            ORDER BY earlier.opened_at DESC LIMIT 1) AS before) AS far
    LEFT JOIN LATERAL (
        SELECT * FROM outcome_events AS event WHERE event.position = call.position
        ORDER BY event.id DESC LIMIT 1) AS last ON true
    WHERE CASE WHEN last.id IS NULL THEN call.state <> 'waiting' ELSE
        ({_columns("last", (*_TERMS, *_DECIDED))}, last.feed, last.seconds,
            CASE call.state WHEN 'closed' THEN last.mfe_r END,
            CASE call.state WHEN 'closed' THEN last.mae_r END)
        IS DISTINCT FROM
        ({_columns("call", (*_TERMS, *_DECIDED))}, coalesce(series.feed, ''), series.seconds,
            CASE call.state WHEN 'closed' THEN call.mfe_r END,
            CASE call.state WHEN 'closed' THEN call.mae_r END) END
    ORDER BY call.position"""

FINISH = """
    UPDATE priced_instruments SET scored_at = clock_timestamp(), score_at = CASE WHEN %(more)s THEN now() ELSE
        least(%(look_at)s::timestamptz, (
            SELECT min(fill_by) FROM outcomes
            WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s AND state = 'waiting'
                AND series_id IS NULL AND fill_by > %(now)s)) END
    WHERE ecosystem = %(ecosystem)s AND instrument = %(instrument)s"""
