"""Endpoints that get outcomes: so far webhooks alone did."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("commerce", "0006_outcome_messages")]

    operations = [
        migrations.AddField(
            model_name="endpoint",
            name="outcomes",
            field=models.BooleanField(
                db_default=True, default=True, help_text="Whether it gets what is decided of calls, too."
            ),
        ),
        migrations.RunSQL(
            "UPDATE endpoints SET outcomes = false WHERE channel <> 'webhook'", migrations.RunSQL.noop
        ),
    ]
