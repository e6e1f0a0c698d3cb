"""Cadences keep the minutes they were learned from, so that learning reads only what is new."""

import django.contrib.postgres.fields
from django.db import migrations, models

# They are learned anew, within a minute of the next start of a watcher.
FORGET = "DELETE FROM agent_cadences; UPDATE alert_policy SET learned_at = NULL"


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0007_quick_checks")]
    operations = [
        migrations.AddField(
            model_name="agentcadence",
            name="minutes",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.IntegerField(),
                db_default=[],
                default=list,
                help_text="The latest minutes with arrivals, counted since 1970.",
                size=None,
            ),
        ),
        migrations.AlterField(
            model_name="agentcadence",
            name="gap",
            field=models.DurationField(
                help_text="95th percentile of the open time between minutes with arrivals; null for too few.",
                null=True,
            ),
        ),
        migrations.RunSQL(FORGET, migrations.RunSQL.noop),
    ]
