"""The generations of the ledger: where positions went on after a restore or a failover."""

from django.db import models
from django.db.models.functions import Now


class LedgerGeneration(models.Model):
    """Positions of this generation are above `floor`; see `aggregator.ledger.generations`."""

    number = models.IntegerField(primary_key=True)
    ledger = models.UUIDField(help_text="The same in all generations of a ledger, and in no other one.")
    floor = models.BigIntegerField(help_text="No position of this generation is at or below it.")
    head = models.BigIntegerField(help_text="The greatest position on record when it was begun.")
    server = models.TextField(help_text="Which server and table it was begun on.")
    began_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "ledger_generations"
        db_table_comment = "Where positions went on after a restore or a failover"
