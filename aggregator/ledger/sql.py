"""The ledger's SQL: every statement whole, with named parameters.

The statements of `aliases` (renaming what is on record) and of `pager` (searching it) stand with their code.
"""

COLUMNS = """signal_id, ecosystem, "timestamp", symbol, action, signal_type, entry_price, stop_loss,
            take_profit, volume, confidence, agent_source, tags, raw_payload, refers_to"""

STAGED_COLUMNS = """ord bigint, signal_id text, ecosystem text, "timestamp" timestamptz, symbol text,
            action text, signal_type text, entry_price numeric, stop_loss numeric, take_profit numeric,
            volume numeric, confidence double precision, agent_source text, tags jsonb, raw_payload jsonb,
            refers_to text, sender text, instrument text, digest bytea"""

# The name ends in a number that changes with the columns, since a pooled session may outlive an upgrade.
STAGED_TABLE = "staged_signals_2"

RECORD = "SELECT * FROM record_signals(%(signals)s::json, %(size)s, %(transport)s, %(first_received_at)s)"
# As RECORD, for `LoneWrite`: a row as one value costs Postgres less than a table of one row.
RECORD_LONE = b"SELECT record_signals($1::json, $2, $3, $4)"
RECORD_STAGED = "SELECT * FROM record_staged_signals(%(size)s, %(transport)s, %(first_received_at)s)"
RECORD_SINGLY = """
    SELECT * FROM record_signals_singly(
        %(signals)s::json, %(size)s, %(transport)s, %(first_received_at)s, %(lock_timeout)s)"""

# Kept by the session and emptied at each commit: creating one a transaction would cost a dozen catalogue rows
# each time.
CREATE_STAGED = f"""
    SET LOCAL client_min_messages = warning;
    CREATE TEMPORARY TABLE IF NOT EXISTS {STAGED_TABLE} ({STAGED_COLUMNS}) ON COMMIT DELETE ROWS"""

# CSV that is JSON: its strings are quoted and escaped in one way, its null is not quoted.
COPY_STAGED = f"""
    COPY {STAGED_TABLE} (ord, {COLUMNS}, sender, instrument, digest)
    FROM STDIN WITH (FORMAT csv, NULL 'null', ESCAPE '\\')"""

# A row's text for `parse`, so that one function validates inserted rows and bytes from outside.
_AS_JSON = """jsonb_build_object(
            'signal_id', signal_id, 'ecosystem', ecosystem, 'timestamp', "timestamp", 'symbol', symbol,
            'action', action, 'signal_type', signal_type, 'entry_price', entry_price, 'stop_loss', stop_loss,
            'take_profit', take_profit, 'volume', volume, 'confidence', confidence,
            'agent_source', agent_source, 'tags', tags, 'raw_payload', raw_payload,
            'refers_to', refers_to)::text"""

FIND_RECORDED = f"""
    SELECT staged.ord, ledger.id, ledger.digest,
        coalesce(ledger.position = %(base)s + staged.ord, false),
        CASE WHEN ledger.digest IS NULL THEN ledger.as_json END
    FROM json_to_recordset(%(identities)s::json) AS staged (ord bigint, ecosystem text, signal_id text)
    JOIN (SELECT id, ecosystem, signal_id, digest, position, {_AS_JSON} AS as_json FROM trading_signals)
        AS ledger USING (ecosystem, signal_id)
    ORDER BY staged.ord"""
"""Return the row that has each signal's identity, and whether it is the one that this batch inserted."""

ADD_SIGHTINGS = """
    INSERT INTO sightings (signal_id, transport, sender, times, seen_at)
    SELECT signal_id, %(transport)s, sender, count(*), now()
    FROM unnest(%(signals)s::bigint[], %(senders)s::text[]) AS duplicate (signal_id, sender)
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (signal_id, transport, sender) DO UPDATE SET times = sightings.times + excluded.times,
        seen_at = excluded.seen_at"""

# What a sender's new letters of a day hold is added up under the lock of its row: of those that go beyond the
# limit the bytes are left out.
WRITE_DEAD_LETTERS = """
    WITH dead AS (
        SELECT *, NOT EXISTS (
            SELECT FROM dead_letters AS known WHERE known.fingerprint = given.fingerprint) AS is_new
        FROM unnest(%(fingerprint)s::bytea[], %(code)s::text[], %(field)s::text[], %(detail)s::text[],
            %(raw)s::bytea[], %(length)s::bigint[], %(sha256)s::bytea[], %(ecosystem)s::text[],
            %(signal_id)s::text[], %(agent_source)s::text[], %(sender)s::text[], %(stream)s::text[],
            %(entry_id)s::text[], %(deliveries)s::int[], %(times)s::int[], %(origin)s::text[])
            AS given (fingerprint, code, field, detail, raw, length, sha256, ecosystem, signal_id,
                agent_source, sender, stream, entry_id, deliveries, times, origin)),
    summed AS (
        SELECT *, sum(CASE WHEN is_new THEN octet_length(raw) ELSE 0 END)
            OVER (PARTITION BY origin ORDER BY fingerprint) AS upto
        FROM dead),
    used AS (
        INSERT INTO dead_letter_bytes AS used (sender, day, bytes)
        SELECT origin, current_date, max(upto) FROM summed GROUP BY origin ORDER BY origin
        ON CONFLICT (sender) DO UPDATE SET day = excluded.day,
            bytes = CASE WHEN used.day = excluded.day THEN used.bytes ELSE 0 END + excluded.bytes
        RETURNING sender AS origin, bytes),
    counted AS (
        SELECT summed.*, used.bytes - max(upto) OVER (PARTITION BY origin) + upto <= %(limit)s AS is_kept
        FROM summed JOIN used USING (origin))
    INSERT INTO dead_letters (fingerprint, transport, code, field, detail, raw, length, sha256, ecosystem,
        signal_id, agent_source, sender, stream, entry_id, deliveries, times, first_at, last_at)
    SELECT fingerprint, %(transport)s, code, field, detail, CASE WHEN is_kept THEN raw ELSE '' END,
        CASE WHEN is_kept THEN length ELSE coalesce(length, octet_length(raw)) END,
        CASE WHEN is_kept THEN sha256 ELSE coalesce(sha256, sha256(raw)) END, ecosystem,
        signal_id, agent_source, sender, stream, entry_id, deliveries, times, now(), now()
    FROM counted
    ORDER BY fingerprint
    ON CONFLICT (fingerprint) DO UPDATE SET
        times = dead_letters.times + CASE WHEN %(is_replay)s THEN 0 ELSE excluded.times END,
        deliveries = greatest(dead_letters.deliveries, excluded.deliveries),
        last_at = CASE WHEN %(is_replay)s THEN dead_letters.last_at ELSE excluded.last_at END,
        resolved_at = NULL"""

CLAIM_INSERTED = f"""
    SELECT id, sender, {_AS_JSON} FROM trading_signals
    WHERE position IS NULL ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""
"""Lock rows that agents inserted into the core database."""

# Elsewhere the digest is the mark of what is on record, whose position may not be known yet.
CLAIM_INSERTED_ELSEWHERE = f"""
    SELECT id, sender, {_AS_JSON} FROM trading_signals
    WHERE position IS NULL AND digest IS NULL ORDER BY id LIMIT %(limit)s FOR UPDATE SKIP LOCKED"""
"""Lock rows that agents inserted into an ecosystem's own database."""

# By the id, for the index: transactions may have begun in another order.
FIND_OLDEST_INSERTED = """
    SELECT extract(epoch FROM now() - received_at)::float8 FROM trading_signals
    WHERE position IS NULL AND digest IS NULL ORDER BY id LIMIT 1"""
"""For how many seconds the oldest row that is not recorded has waited, in either kind of database."""

RECORD_INSERTED = "SELECT record_inserted_signals(%(signals)s::json)"

DELETE_INSERTED = "DELETE FROM trading_signals WHERE id = ANY (%(ids)s)"

FIND_REPEATED = "SELECT id, sender, signal FROM repeated_rows ORDER BY id LIMIT %(limit)s"

# To the end of the queue: an open transaction must not hold up what others repeat.
DEFER_REPEATED = "UPDATE repeated_rows SET id = DEFAULT WHERE id = ANY (%(ids)s)"

DELETE_REPEATED = "DELETE FROM repeated_rows WHERE id = ANY (%(ids)s)"

FIND_POSITIONS = """
    SELECT ledger.instrument, ledger.position, ledger.recorded_at
    FROM unnest(%(ecosystems)s::text[], %(signal_ids)s::text[]) WITH ORDINALITY
        AS wanted (ecosystem, signal_id, ord)
    LEFT JOIN trading_signals AS ledger USING (ecosystem, signal_id)
    ORDER BY wanted.ord"""

MARK_INSERTED = """
    UPDATE trading_signals AS source SET digest = recorded.digest, instrument = recorded.instrument,
        position = recorded.position, recorded_at = recorded.recorded_at
    FROM unnest(%(ids)s::bigint[], %(digests)s::bytea[], %(instruments)s::text[], %(positions)s::bigint[],
        %(times)s::timestamptz[]) AS recorded (id, digest, instrument, position, recorded_at)
    WHERE source.id = recorded.id"""

FIND_TABLE = """
    SELECT pg_postmaster_start_time(), oid, 'trading_signals'::regclass::oid
    FROM pg_database WHERE datname = current_database()"""
"""Identify the ledger's table, whatever address, user or pooler leads to it."""

# Nothing of it stays but a dead row. A quarter of a megabyte is spilled to the disk: where that is full, the
# row itself may still fit into what earlier ones left free. The server does all of it without waiting for the
# client, which may be far away, so that the ledger's lock is held for microseconds.
TRY_RECORDING = """
    BEGIN;
    SET LOCAL statement_timeout = '2500ms';
    SET LOCAL lock_timeout = '2s';
    INSERT INTO trading_signals (signal_id, ecosystem, "timestamp", symbol, action)
    VALUES ('health-check', 'crypto', now(), 'BTCUSDT', 'HOLD') ON CONFLICT DO NOTHING;
    SET LOCAL work_mem = '64kB';
    SET LOCAL temp_tablespaces = '';
    SELECT count(*) FROM generate_series(1, 10000);
    LOCK TABLE ledger_lock IN EXCLUSIVE MODE;
    ROLLBACK"""
"""Write a signal as recording does, and take it back."""

FIND_MISSING_RIGHTS = """
    SELECT wanted || ' on ' || name
    FROM unnest(%(tables)s::text[]) AS name
    CROSS JOIN unnest('{SELECT,INSERT,UPDATE,DELETE}'::text[]) AS wanted
    WHERE to_regclass(quote_ident(name)) IS NOT NULL AND NOT has_table_privilege(quote_ident(name), wanted)
    UNION ALL
    SELECT 'USAGE on trading_signals_position_seq'
    WHERE NOT has_sequence_privilege('trading_signals_position_seq', 'USAGE')
    UNION ALL
    SELECT 'EXECUTE on ' || proname FROM pg_proc
    WHERE proname LIKE 'record%%signals%%' AND NOT has_function_privilege(oid, 'EXECUTE')"""
"""Return what this role may not do with the hub's tables and functions."""
