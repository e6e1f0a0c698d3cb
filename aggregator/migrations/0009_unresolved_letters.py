"""Indexes of the dead letters that wait for somebody, built while the ledger goes on writing."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("aggregator", "0008_remembered_minutes")]
    operations = [
        AddIndexConcurrently(
            model_name="deadletter",
            index=models.Index(
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                include=("code", "agent_source", "ecosystem", "times"),
                name="dead_letters_unresolved",
            ),
        ),
        AddIndexConcurrently(
            model_name="deadletter",
            index=models.Index(
                models.F("code"),
                models.F("agent_source"),
                models.F("ecosystem"),
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                name="dead_letters_groups",
            ),
        ),
    ]
