"""A JSON null in `tags` or `raw_payload` is their default, as it is over every other transport.

Some clients write it where they mean NULL, as SQLAlchemy does.
"""

from django.db import migrations

FUNCTION = """
CREATE OR REPLACE FUNCTION normalize_inserted_signal() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.action := upper(NEW.action COLLATE "C");
    NEW.signal_type := upper(coalesce(NEW.signal_type, 'MARKET') COLLATE "C");
    NEW.entry_price := trim_scale(nullif(NEW.entry_price, 0));
    NEW.stop_loss := trim_scale(nullif(NEW.stop_loss, 0));
    NEW.take_profit := trim_scale(nullif(NEW.take_profit, 0));
    NEW.volume := trim_scale(NEW.volume);
    -- A float's noise counts as the bound; adding 0.0 turns -0.0 into 0.0.
    NEW.confidence := 0.0 + CASE
        WHEN NEW.confidence > 1 AND NEW.confidence <= 1.000000001 THEN 1
        WHEN NEW.confidence < 0 AND NEW.confidence >= -0.000000001 THEN 0
        ELSE NEW.confidence END;
    NEW.agent_source := coalesce(NEW.agent_source, '');
    NEW.tags := coalesce({tags}, '[]');
    NEW.raw_payload := coalesce({payload}, '{{}}');
    RETURN NEW;
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0017_outcome_statistics_indexes")]

    operations = [
        migrations.RunSQL(
            FUNCTION.format(tags="nullif(NEW.tags, 'null')", payload="nullif(NEW.raw_payload, 'null')"),
            FUNCTION.format(tags="NEW.tags", payload="NEW.raw_payload"),
        )
    ]
