"""Cursors of the ledger's followers."""

from django.db import models


class FollowerCursor(models.Model):
    """Up to which position a follower has taken the ledger into account; see `aggregator.followers`."""

    name = models.TextField(primary_key=True)
    position = models.BigIntegerField(default=0)
    advanced_at = models.DateTimeField(help_text="When it advanced last.")

    class Meta:
        db_table = "followers"
        db_table_comment = "Cursors of the followers, which read the ledger behind its writer"
