"""Rows that agents insert under an identity that is taken: kept until the hub has compared them.

A role that may only INSERT cannot see what is in the table, and `ON CONFLICT DO NOTHING` drops a row without a
word, also one with other content. Triggers see each row that is inserted, whatever the client, its language and
its pooler.
"""

import django.db.models.functions.datetime
from django.db import migrations, models

# A row whose identity is committed is copied. One whose identity another transaction holds at that moment looks
# like a new one here; ON CONFLICT waits for that transaction, and then drops the row. So rows are counted that
# were neither copied nor inserted in the end. If there are any, the statement fails as Postgres asks to be tried
# again, and the next try finds the identity committed. The count is a setting that ends with the transaction. A
# role may set it as it likes, to hide its own conflicts at most.
#
# Written by the owner's rights: a role that inserts has none on either table's rows. The path is the table's own
# schema, so that no object of such a role takes the place of one used here.
TRIGGERS = r"""
DO $do$
BEGIN
    EXECUTE format($create$
        CREATE FUNCTION keep_repeated_row() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
            SET search_path = pg_catalog, %1$I, pg_temp AS $$
        BEGIN
            IF EXISTS (SELECT FROM trading_signals
                    WHERE ecosystem = NEW.ecosystem AND signal_id = NEW.signal_id) THEN
                INSERT INTO repeated_rows (sender, signal) VALUES (NEW.sender, jsonb_build_object(
                    'signal_id', NEW.signal_id, 'ecosystem', NEW.ecosystem, 'timestamp', NEW."timestamp",
                    'symbol', NEW.symbol, 'action', NEW.action, 'signal_type', NEW.signal_type,
                    'entry_price', NEW.entry_price, 'stop_loss', NEW.stop_loss,
                    'take_profit', NEW.take_profit, 'volume', NEW.volume, 'confidence', NEW.confidence,
                    'agent_source', NEW.agent_source, 'tags', NEW.tags, 'raw_payload', NEW.raw_payload,
                    'refers_to', NEW.refers_to)::text);
            ELSE
                PERFORM set_config('signal_hub.unplaced_rows',
                    (coalesce(nullif(current_setting('signal_hub.unplaced_rows', true), ''), '0')::int + 1)::text,
                    true);
            END IF;
            RETURN NEW;
        END $$
    $create$, current_schema());
END $do$;

CREATE FUNCTION count_placed_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- It was not counted where the row that had its identity went between the two triggers.
    PERFORM set_config('signal_hub.unplaced_rows', greatest(
        coalesce(nullif(current_setting('signal_hub.unplaced_rows', true), ''), '0')::int - 1, 0)::text, true);
    RETURN NULL;
END $$;

CREATE FUNCTION refuse_unplaced_rows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('signal_hub.unplaced_rows')::int > 0 THEN
        RAISE serialization_failure USING MESSAGE =
            'another transaction inserted a signal of this statement at the same time: run the statement again';
    END IF;
    RETURN NULL;
END $$;

REVOKE ALL ON FUNCTION keep_repeated_row(), count_placed_row(), refuse_unplaced_rows() FROM PUBLIC;

-- Triggers fire in the order of their names: this one after the row has its one form.
CREATE TRIGGER repeated_row BEFORE INSERT ON trading_signals
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION keep_repeated_row();
CREATE TRIGGER repeated_row_placed AFTER INSERT ON trading_signals
    FOR EACH ROW WHEN (NEW.position IS NULL) EXECUTE FUNCTION count_placed_row();
CREATE TRIGGER repeated_row_unplaced AFTER INSERT ON trading_signals FOR EACH STATEMENT
    WHEN (coalesce(current_setting('signal_hub.unplaced_rows', true), '') NOT IN ('', '0'))
    EXECUTE FUNCTION refuse_unplaced_rows();
"""

REVERSE = """
DROP TRIGGER repeated_row ON trading_signals;
DROP TRIGGER repeated_row_placed ON trading_signals;
DROP TRIGGER repeated_row_unplaced ON trading_signals;
DROP FUNCTION keep_repeated_row();
DROP FUNCTION count_placed_row();
DROP FUNCTION refuse_unplaced_rows();
"""


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0012_counted_duplicates")]

    operations = [
        migrations.CreateModel(
            name="RepeatedRow",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("sender", models.TextField()),
                (
                    "received_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("signal", models.TextField(help_text="The row as JSON.")),
            ],
            options={
                "db_table": "repeated_rows",
                "db_table_comment": "Rows that agents inserted under an identity that is taken, "
                "until the hub has compared them",
            },
        ),
        migrations.RunSQL(TRIGGERS, REVERSE),
    ]
