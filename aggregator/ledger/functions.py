"""The functions in Postgres that give positions: one call records a batch, and commits it.

Postgres keeps the plans of a function for as long as a session lasts, also one of a transaction pooler: more
than half of a lone signal's time was planning. And nothing waits for this process while the lock is held,
since the call is a transaction by itself.

`manage.py migrate` creates them whatever migrations there are, so a change here needs none. It must leave
programs that run an earlier version working: with the same parameters, and defaults for what they lack.
"""

from django.db import connection, transaction

from aggregator.ledger.errors import OWN_CONSTRAINTS
from aggregator.ledger.sql import COLUMNS, STAGED_COLUMNS, STAGED_TABLE

# The table's own lock is taken before the ledger's, so that a migration makes this transaction wait and not
# everyone behind it. Of a statement that has begun, only the waiting for locks can be limited.
#
# A plan is kept while the tables grow: it must not read one of them whole because it was small. A sequence
# can be read in no other way, and seems so dear then that Postgres would compile the plan (JIT) at each call,
# which takes 100 ms.
#
# Positions begin above the greatest on record whatever the sequence says, which a restore or a failover may
# have left behind. The clock is read under the lock, once a call.
_BEGIN = """
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE 'positions need the isolation level READ COMMITTED';
    END IF;
    BEGIN
        PERFORM set_config('lock_timeout', '30s', true);
        LOCK TABLE trading_signals IN ROW EXCLUSIVE MODE;
        LOCK TABLE ledger_lock IN EXCLUSIVE MODE;
    EXCEPTION WHEN lock_not_available THEN
        RAISE query_canceled USING MESSAGE = 'the ledger was locked for 30 s';
    END;
    PERFORM set_config('lock_timeout', wait, true), set_config('enable_seqscan', 'off', true),
        set_config('jit', 'off', true);
    SELECT greatest(CASE WHEN is_called THEN last_value END, newest.position,
            (SELECT floor FROM ledger_generations ORDER BY number DESC LIMIT 1), 0),
        greatest(clock_timestamp(), newest.recorded_at)
        INTO base, moment
    FROM trading_signals_position_seq
    LEFT JOIN (
        SELECT position, recorded_at FROM trading_signals
        WHERE position IS NOT NULL ORDER BY position DESC LIMIT 1) AS newest ON true;"""

# What an operator says a symbol is replaces what its spelling says; see `aggregator.ledger.aliases`.
_INSTRUMENT = """coalesce((
            SELECT nullif(alias.instrument, '') FROM symbol_aliases AS alias
            WHERE alias.ecosystem = staged.ecosystem AND alias.symbol = staged.symbol), staged.instrument)"""

# Rows come in the order of `ord`: of two with one identity, the first stays.
_INSERT = f"""
    INSERT INTO trading_signals ({COLUMNS}, sender, instrument, digest, transport, first_received_at,
        position, recorded_at)
    SELECT {COLUMNS}, sender, {_INSTRUMENT}, digest, via, came_at, base + ord, moment
    FROM {{source}}"""
_UNLESS_KNOWN = "ON CONFLICT (ecosystem, signal_id) DO NOTHING"

# Most batches hold nothing that is known, and ON CONFLICT costs a sixth of the work, so it is tried without.
#
# A row whose identity an open transaction of an agent holds would make the INSERT, and with it every other
# way in, wait for that transaction: after 100 ms the call fails.
_RECORD = f"""
DECLARE
    wait CONSTANT text := '100ms';
    moment timestamptz;
BEGIN {_BEGIN}
    BEGIN {_INSERT};
    EXCEPTION WHEN unique_violation THEN {_INSERT}
        {_UNLESS_KNOWN};
    END;
    GET DIAGNOSTICS recorded = ROW_COUNT;
    IF recorded > 0 THEN
        PERFORM setval('trading_signals_position_seq', base + size);
    END IF;
END """

# A signal that Postgres refuses harms no other; one that is held waits for 1 ms, after the first.
_RECORD_SINGLY = f"""
DECLARE
    moment timestamptz;
    signal json;
    state text;
    name text;
BEGIN {_BEGIN}
    recorded := 0;
    problems := '{{{{}}}}';
    FOR signal IN SELECT value FROM json_array_elements(batch) LOOP
        BEGIN
            {_INSERT}
            {_UNLESS_KNOWN};
            IF FOUND THEN
                recorded := recorded + 1;
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                problems := problems || jsonb_build_object(signal ->> 'ord', '');
                PERFORM set_config('lock_timeout', '1ms', true);
            WHEN data_exception OR integrity_constraint_violation OR program_limit_exceeded THEN
                GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, name = CONSTRAINT_NAME;
                IF name IN ({", ".join(f"'{name}'" for name in OWN_CONSTRAINTS)}) THEN
                    RAISE;
                END IF;
                problems := problems || jsonb_build_object(signal ->> 'ord',
                    'SQLSTATE ' || state || ', ' || coalesce(nullif(name, ''), 'no constraint'));
        END;
    END LOOP;
    IF recorded > 0 THEN
        PERFORM setval('trading_signals_position_seq', base + size);
    END IF;
END """

# An agent may have written any time, also one that no program can read.
_RECORD_INSERTED = f"""
DECLARE
    wait CONSTANT text := '100ms';
    base bigint;
    moment timestamptz;
    recorded bigint;
BEGIN {_BEGIN}
    UPDATE trading_signals AS ledger SET instrument = numbered.instrument, digest = numbered.digest,
        position = base + numbered.number, recorded_at = moment, first_received_at = NULL,
        received_at = CASE WHEN received_at BETWEEN '2000-01-01Z' AND moment THEN received_at ELSE moment END
    FROM (
        SELECT ord, {_INSTRUMENT} AS instrument, digest, row_number() OVER (ORDER BY ord) AS number
        FROM json_to_recordset(batch) AS staged ({STAGED_COLUMNS})) AS numbered
    WHERE ledger.id = numbered.ord;
    GET DIAGNOSTICS recorded = ROW_COUNT;
    IF recorded > 0 THEN
        PERFORM setval('trading_signals_position_seq', base + recorded);
    END IF;
END """

# JSON rather than JSONB: that one has a limit of 256 MB.
FUNCTIONS = {
    "record_signals": (
        "(batch json, size int, via text, came_at timestamptz, OUT recorded bigint, OUT base bigint)",
        _RECORD.format(source=f"json_to_recordset(batch) AS staged ({STAGED_COLUMNS})"),
    ),
    "record_staged_signals": (
        "(size int, via text, came_at timestamptz, OUT recorded bigint, OUT base bigint)",
        _RECORD.format(source=f"{STAGED_TABLE} AS staged"),
    ),
    "record_signals_singly": (
        "(batch json, size int, via text, came_at timestamptz, wait text, "
        "OUT recorded bigint, OUT base bigint, OUT problems jsonb)",
        _RECORD_SINGLY.format(source=f"json_to_record(signal) AS staged ({STAGED_COLUMNS})"),
    ),
    "record_inserted_signals": ("(batch json) RETURNS void", _RECORD_INSERTED),
}
"""By name, the parameters and results, and the body."""


def create_functions() -> None:
    """Create those that are missing in the core database or differ from the code's."""
    with transaction.atomic(), connection.cursor() as cursor:
        for name in outdated_functions():
            parameters, body = FUNCTIONS[name]
            cursor.execute(f"DROP FUNCTION IF EXISTS {name}")
            cursor.execute(
                f"CREATE FUNCTION {name}{parameters} LANGUAGE plpgsql AS $function${body}$function$"
            )
            cursor.execute(f"REVOKE ALL ON FUNCTION {name} FROM PUBLIC")


def outdated_functions() -> list[str]:
    """Return the names of those that are missing in the core database or differ from the code's."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT proname, prosrc FROM pg_proc "
            "WHERE proname = ANY (%s) AND pronamespace = current_schema()::regnamespace",
            [list(FUNCTIONS)],
        )
        found = dict(cursor.fetchall())
    return [name for name, (_, body) in FUNCTIONS.items() if found.get(name) != body]
