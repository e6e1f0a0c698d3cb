"""Indexes of the operator's list, built while the ledger goes on writing."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("aggregator", "0003_rollups_and_aliases")]
    operations = [
        AddIndexConcurrently(
            model_name='tradingsignal',
            index=models.Index(fields=['instrument', 'id'], name='trading_signals_instrument'),
        ),
        AddIndexConcurrently(
            model_name='tradingsignal',
            index=models.Index(fields=['agent_source', 'id'], name='trading_signals_agent'),
        ),
    ]
