"""Agents, and how often each sends."""

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Agent(models.Model):
    """An agent, known from what it sent."""

    ecosystem = models.TextField()
    agent_source = models.TextField("agent", blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    last_transport = models.TextField()
    signals = models.BigIntegerField(
        default=0, help_text="Replays of the past left out: 0 for an agent of which nothing else is known."
    )
    expected_cadence = models.DurationField(
        null=True, blank=True, help_text="Longest usual time between two signals; empty until set."
    )
    published_at = models.DateTimeField(
        null=True, blank=True, help_text="Since when its track record is public; empty while it is not."
    )

    heartbeat_interval = models.DurationField(
        null=True, blank=True, editable=False, help_text="As its latest heartbeat announces it."
    )
    longest_gap = models.DurationField(
        null=True, blank=True, editable=False, help_text="The longest time between two signals so far."
    )

    class Meta:
        db_table = "agents"
        db_table_comment = "Agents, when each was last seen and how often it is expected"
        constraints = [models.UniqueConstraint(fields=["ecosystem", "agent_source"], name="agents_key")]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.agent_source or '(unnamed)'}"


class AgentCadence(models.Model):
    """How often an agent usually sends, learned from its arrivals; see `aggregator.arrivals.cadence`."""

    agent = models.OneToOneField(Agent, on_delete=models.CASCADE, primary_key=True, related_name="cadence")
    gap = models.DurationField(
        null=True,
        help_text="95th percentile of the open time between minutes with arrivals; null for too few.",
    )
    gaps = models.IntegerField(help_text="How many gaps that was learned from.")
    minutes = ArrayField(
        models.IntegerField(),
        default=list,
        db_default=[],
        help_text="The latest minutes with arrivals, counted since 1970.",
    )
    learned_at = models.DateTimeField()

    class Meta:
        db_table = "agent_cadences"
        db_table_comment = "How often agents usually send, learned from arrival_minutes"
