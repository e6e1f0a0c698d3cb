"""Sources: producers that cannot sign, each with a hook or a stream of its own."""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import RegexValidator
from django.db import models

from aggregator.models.signals import ECOSYSTEM_CHOICES

SOURCE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"


class Source(models.Model):
    """A producer that cannot sign. Its token is never stored: see `aggregator.sources.tokens`."""

    name = models.TextField(
        unique=True,
        validators=[
            RegexValidator(rf"^{SOURCE_NAME}\Z", "Use at most 64 letters, digits, '.', '_' and '-'.")
        ],
        help_text="Names the source in logs, signals and dead letters; begins the ids of its signals.",
    )
    preset = models.TextField(help_text="The kind of producer.")
    ecosystem = models.TextField(
        blank=True,
        choices=ECOSYSTEM_CHOICES,
        help_text="Of its signals; empty where each body names its own.",
    )
    agent = models.TextField(
        blank=True, help_text="The agent of its signals, unless the mapping says otherwise."
    )
    agents = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="The agents (agent_source) its signals may name. None means all.",
    )
    networks = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="Addresses or networks (CIDR) that may use the hook. None means all.",
    )
    rate = models.TextField(
        blank=True, help_text="Requests it may make, as 600/minute. Empty means the hub's rate."
    )
    mapping = models.TextField(
        blank=True, help_text="A mapping of its own, TOML or JSON. Empty means the preset's."
    )
    stream = models.TextField(blank=True, help_text="The Redis stream it reads; it has no hook then.")
    token_digest = models.BinaryField(null=True, unique=True, help_text="HMAC-SHA256 of the hook's token.")
    previous_digest = models.BinaryField(null=True, unique=True)
    previous_until = models.DateTimeField(null=True, help_text="Until when the token before still works.")
    header_digest = models.BinaryField(
        null=True, help_text="HMAC-SHA256 of the secret that Telegram sends in a header."
    )
    created_at = models.DateTimeField()
    rotated_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "sources"
        db_table_comment = "Producers that cannot sign; hashes of their hooks' tokens, which are not stored"

    def __str__(self) -> str:
        return self.name


class HookBody(models.Model):
    """When a body without a time of its own came in: its repetition within a minute is a duplicate."""

    source = models.ForeignKey(Source, on_delete=models.CASCADE, db_constraint=False)
    digest = models.BinaryField(help_text="SHA-256 of the body.")
    arrived_at = models.DateTimeField()

    class Meta:
        db_table = "hook_bodies"
        db_table_comment = "Bodies without a time of their own that came in within the last minutes"
        constraints = [models.UniqueConstraint(fields=["source", "digest"], name="hook_bodies_identity")]
        indexes = [models.Index(fields=["arrived_at"], name="hook_bodies_arrived_at")]
