"""Where followers are in the ledger, how the workers' loops fare, and when periodic jobs ran."""

from django.db import models


class FollowerCursor(models.Model):
    """Up to which position a follower has taken the ledger into account; see `aggregator.followers`."""

    name = models.TextField(primary_key=True)
    position = models.BigIntegerField(default=0)
    advanced_at = models.DateTimeField(help_text="When it advanced last.")

    class Meta:
        db_table = "followers"
        db_table_comment = "Cursors of the followers, which read the ledger behind its writer"


class WorkerLoop(models.Model):
    """The state of one loop of one worker; see `aggregator.worker_states`."""

    pk = models.CompositePrimaryKey("worker", "loop")
    worker = models.TextField(help_text="Host and process id.")
    loop = models.TextField()
    seen_at = models.DateTimeField(help_text="When the worker wrote this last.")
    ok_at = models.DateTimeField(help_text="When the loop last did a batch, or found nothing to do.")
    crashes = models.IntegerField(help_text="How often it crashed within the last minutes.")
    problem = models.TextField(help_text="The last outage or crash; empty when that is over.")

    class Meta:
        db_table = "worker_loops"
        db_table_comment = "How the loops of each worker fare, for the health check"


class PeriodicJob(models.Model):
    """When a job was claimed last; see `aggregator.periodic`."""

    name = models.TextField(primary_key=True)
    last_run_at = models.DateTimeField()

    class Meta:
        db_table = "periodic_jobs"
        db_table_comment = "When each periodic job ran last, among all workers"
