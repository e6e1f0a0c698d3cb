"""Indexes from which the statistics of an agent are made.

Postgres reads an index alone only for pages of the table that VACUUM has seen since they changed last. By
default it comes once a fifth of the rows have changed, and until then the statistics read thousands of pages.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('aggregator', '0016_source_agents'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(('state__in', ['waiting', 'open']), _negated=True), fields=['ecosystem', 'agent_source', 'simulated'], include=('position', 'lag', 'entered_at', 'exited_at', 'instrument', 'state', 'net_return', 'r_multiple', 'slippage'), name='outcomes_statistics'),
        ),
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(models.Q(('state__in', ['waiting', 'open']), _negated=True), models.Q(('daily_r', []), _negated=True)), fields=['ecosystem', 'agent_source', 'simulated'], name='outcomes_held_by_day'),
        ),
        migrations.AddIndex(
            model_name='outcome',
            index=models.Index(condition=models.Q(('state__in', ['waiting', 'open'])), fields=['ecosystem', 'agent_source', 'simulated'], name='outcomes_undecided'),
        ),
        migrations.RunSQL(
            sql="ALTER TABLE outcomes SET (autovacuum_vacuum_scale_factor = 0.05)",
            reverse_sql="ALTER TABLE outcomes RESET (autovacuum_vacuum_scale_factor)",
        ),
    ]
