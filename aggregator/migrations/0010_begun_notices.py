"""Tells notices that were claimed from those that may have come."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("aggregator", "0009_unresolved_letters")]
    operations = [
        migrations.AddField(
            model_name="alertnotice",
            name="begun_at",
            field=models.DateTimeField(
                help_text="When it was handed over, while no answer is known.", null=True
            ),
        ),
        # Until now a claim was the beginning.
        migrations.RunSQL(
            "UPDATE alert_notices SET begun_at = claimed_until WHERE claimed_until IS NOT NULL",
            migrations.RunSQL.noop,
        ),
    ]
