"""The transparency log: its head, leaves, tiles, and the salts of agents; see `aggregator.transparency`."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class TransparencyLog(models.Model):
    """The log's name, size and last checkpoint. One row; none where no log is kept."""

    origin = models.TextField(help_text="Its name in checkpoints.")
    size = models.BigIntegerField(default=0, help_text="How many leaves the tables hold.")
    checkpoint = models.TextField(help_text="The last one that was published, as a signed note.")
    checkpoint_size = models.BigIntegerField(default=0)
    checkpoint_at = models.DateTimeField()
    position = models.BigIntegerField(default=0, help_text="The checkpoint covers the ledger up to here.")
    verifier_keys = ArrayField(models.TextField(), help_text="Of the keys that signed the checkpoint.")
    problem = models.TextField(default="", help_text="Why no checkpoint can be made; empty when one can.")
    problem_detail = models.TextField(default="")

    class Meta:
        db_table = "transparency_log"
        db_table_comment = "The transparency log's name, size and last checkpoint; one row"
        constraints = [models.CheckConstraint(condition=models.Q(id=1), name="transparency_log_one_row")]


class LogAgent(models.Model):
    """An agent as the log names it: by a hash that is disclosed with the salt."""

    ecosystem = models.TextField()
    agent_source = models.TextField()
    salt = models.BinaryField()

    class Meta:
        db_table = "log_agents"
        db_table_comment = "The salt with which the transparency log hides each agent's name"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "agent_source"], name="log_agents_identity")
        ]


class LogLeaf(models.Model):
    """One leaf: the commitment to a signal or an outcome event, and the nonce that opens it."""

    index = models.BigIntegerField(primary_key=True)
    # No constraint in the database: it would look at the agent's row for each leaf, and none is ever removed.
    agent = models.ForeignKey(
        LogAgent, on_delete=models.PROTECT, db_index=False, db_constraint=False, related_name="+"
    )
    position = models.BigIntegerField(help_text="Of the signal, in the ledger; of an outcome, its call's.")
    event = models.BigIntegerField(null=True, help_text="The outcome event; null for a signal.")
    recorded_at = models.DateTimeField()
    nonce = models.BinaryField()
    commitment = models.BinaryField()

    class Meta:
        db_table = "log_leaves"
        db_table_comment = "The transparency log's leaves, in order"
        constraints = [
            models.UniqueConstraint(
                fields=["position"], condition=models.Q(event=None), name="log_leaves_signal"
            ),
            models.UniqueConstraint(
                fields=["event"], condition=models.Q(event__isnull=False), name="log_leaves_event"
            ),
        ]


class LogTile(models.Model):
    """Up to 256 consecutive hashes of the tree, as C2SP's tlog-tiles has them."""

    pk = models.CompositePrimaryKey("level", "index")
    level = models.SmallIntegerField()
    index = models.BigIntegerField()
    hashes = models.BinaryField()

    class Meta:
        db_table = "log_tiles"
        db_table_comment = "The transparency log's tree"


class LogAnchor(models.Model):
    """A checkpoint with its RFC 3161 timestamp from one authority."""

    authority = models.TextField(help_text="Its URL, without a password.")
    checkpoint = models.TextField()
    size = models.BigIntegerField()
    stamped_at = models.DateTimeField(help_text="As the authority says.")
    response = models.BinaryField(help_text="The authority's answer, in DER.")

    class Meta:
        db_table = "log_anchors"
        db_table_comment = "Timestamps of checkpoints (RFC 3161)"
        indexes = [models.Index(fields=["authority", "-size"], name="log_anchors_latest")]
