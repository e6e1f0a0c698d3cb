"""A candle's time is one that every program can read: one that none can would stop the scoring of its calls."""

from django.db import migrations

READABLE = "opened_at >= '0001-01-02Z' AND opened_at < '9000-01-01Z'"
CONSTRAINT = f"""
DELETE FROM scoring_requests WHERE first_at < '0001-01-02Z' OR last_at >= '9000-01-01Z';
DELETE FROM candles WHERE NOT ({READABLE});
ALTER TABLE candles ADD CONSTRAINT candles_opened_at_readable CHECK ({READABLE});
"""


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0018_json_null")]

    operations = [
        migrations.RunSQL(CONSTRAINT, "ALTER TABLE candles DROP CONSTRAINT candles_opened_at_readable")
    ]
