"""Agents of which nothing but replays are known, of before their rows were written with the replay."""

from django.db import migrations, models

ADD = """
    INSERT INTO agents (ecosystem, agent_source, first_seen, last_seen, last_transport, signals)
    SELECT ecosystem, agent_source, min(recorded_at), min(recorded_at), max(transport), 0
    FROM trading_signals
    WHERE position IN (SELECT min(position) FROM outcomes WHERE simulated GROUP BY ecosystem, agent_source)
    GROUP BY 1, 2
    ON CONFLICT (ecosystem, agent_source) DO NOTHING"""


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0014_log_leaves_agent")]

    operations = [
        migrations.AlterField(
            model_name="agent",
            name="signals",
            field=models.BigIntegerField(
                default=0, help_text="Replays of the past left out: 0 for an agent of which nothing else is known."
            ),
        ),
        migrations.RunSQL(ADD, migrations.RunSQL.noop),
    ]
