"""API keys."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

from aggregator.models.signals import ECOSYSTEM_CHOICES


class ApiKey(models.Model):
    """Who may send or read. Values and signing secrets are never stored: see `aggregator.http.api_keys`."""

    SCOPES = (("publish", "publish signals"), ("read", "read the feed"), ("metrics", "read the metrics"))

    key_id = models.TextField(
        "id", unique=True, help_text="Names the key in logs and dead letters; not a secret."
    )
    name = models.TextField(blank=True, help_text="What it is for.")
    digest = models.BinaryField(unique=True, help_text="HMAC-SHA256 of the value.")
    previous_digest = models.BinaryField(null=True, unique=True)
    previous_until = models.DateTimeField(null=True, help_text="Until when the value before still passes.")
    scopes = ArrayField(models.TextField(choices=SCOPES), default=list)
    ecosystems = ArrayField(
        models.TextField(choices=ECOSYSTEM_CHOICES),
        default=list,
        blank=True,
        help_text="None means all of them.",
    )
    agents = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        help_text="The agents (agent_source) it may publish as, one a line. Empty: any.",
    )
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    rotated_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "api_keys"
        verbose_name = "API key"
        db_table_comment = "Hashes of API keys; the values are not stored"

    def __str__(self) -> str:
        return self.key_id
