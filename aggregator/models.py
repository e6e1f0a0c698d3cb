"""The tables of the hub. `migrations/` holds the DDL that agents in other languages rely on."""

from django.contrib.postgres.fields import ArrayField
from django.db import models

TRANSPORTS = (("database", "database"), ("redis", "redis"), ("webhook", "webhook"))
ECOSYSTEM_CHOICES = (("crypto", "crypto"), ("forex", "forex"), ("stock", "stock"))


class TradingSignal(models.Model):
    """One signal of the ledger. Agents may insert rows; only `aggregator.ledger` gives them a position."""

    id = models.BigAutoField(primary_key=True)
    signal_id = models.TextField("signal id")
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    timestamp = models.DateTimeField(help_text="When the agent saw it.")
    symbol = models.TextField(help_text="As the agent writes it.")
    instrument = models.TextField(help_text="The canonical symbol.")
    action = models.TextField()
    signal_type = models.TextField()
    entry_price = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    stop_loss = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    take_profit = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    volume = models.DecimalField(max_digits=38, decimal_places=18, null=True)
    confidence = models.FloatField(null=True)
    agent_source = models.TextField("agent")
    tags = models.JSONField()
    raw_payload = models.JSONField()
    transport = models.TextField(choices=TRANSPORTS)
    received_at = models.DateTimeField()
    digest = models.BinaryField(null=True)
    position = models.BigIntegerField(null=True, unique=True)

    class Meta:
        db_table = "trading_signals"
        verbose_name = "signal"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "signal_id"], name="trading_signals_identity"),
        ]
        # What the operator's list searches by, each in the list's own order. Every further index costs the
        # ledger's throughput: ecosystem, transport and time are found by walking the primary key instead.
        indexes = [
            models.Index(fields=["instrument", "id"], name="trading_signals_instrument"),
            models.Index(fields=["agent_source", "id"], name="trading_signals_agent"),
        ]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.signal_id}"


class DeadLetter(models.Model):
    """What could not become a signal, exactly as it came, and why."""

    fingerprint = models.BinaryField(
        unique=True, help_text="SHA-256 of where it came from, why, and its bytes."
    )
    transport = models.TextField(choices=TRANSPORTS)
    code = models.TextField()
    field = models.TextField(blank=True)
    detail = models.TextField()
    raw = models.BinaryField()
    ecosystem = models.TextField(blank=True)
    signal_id = models.TextField("signal id", blank=True)
    agent_source = models.TextField("agent", blank=True)
    sender = models.TextField(blank=True, help_text="The key's id, else the address it came from.")
    stream = models.TextField(blank=True)
    entry_id = models.TextField(blank=True)
    deliveries = models.IntegerField(default=1)
    times = models.IntegerField(default=1, help_text="How often the very same came in.")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "dead_letters"
        verbose_name = "dead letter"
        db_table_comment = "Entries that could not become signals, with their raw bytes and the reason"
        # The list and its groups, a group's own list, and `trimmed_unread`, counted at each look at a stream.
        # Measured at 1,000,000 letters: 0.4 s for each of them without, 0 to 35 ms with.
        indexes = [
            models.Index(fields=["-last_at"], name="dead_letters_last_at"),
            models.Index(
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                include=("code", "agent_source", "ecosystem", "times"),
                name="dead_letters_unresolved",
            ),
            models.Index(
                models.F("code"),
                models.F("agent_source"),
                models.F("ecosystem"),
                models.F("last_at").desc(),
                models.F("id").desc(),
                condition=models.Q(resolved_at=None),
                name="dead_letters_groups",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.ecosystem}/{self.signal_id}".rstrip(" /")


class Sighting(models.Model):
    """A signal that came again with the same content: over which transport, and when."""

    # No constraint in the database: its check would wait for a row that `adoption.adopt` has claimed, while
    # `adopt` waits for the ledger's lock that this transaction holds.
    signal = models.ForeignKey(
        TradingSignal, on_delete=models.CASCADE, related_name="sightings", db_constraint=False
    )
    transport = models.TextField(choices=TRANSPORTS)
    sender = models.TextField(blank=True)
    seen_at = models.DateTimeField()

    class Meta:
        db_table = "sightings"
        db_table_comment = "Duplicates: a signal that came again with the same content"


class ApiKey(models.Model):
    """Who may send or read. Values and signing secrets are never stored: see `aggregator.auth`."""

    SCOPES = (("publish", "publish signals"), ("read", "read the feed"))

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


class ArrivalMinute(models.Model):
    """What came in one minute from one agent over one transport."""

    minute = models.DateTimeField()
    ecosystem = models.TextField()
    agent_source = models.TextField("agent")
    transport = models.TextField()
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    conflicts = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    lags = ArrayField(
        models.BigIntegerField(),
        default=list,
        help_text="How many were recorded within each of `arrivals.LAG_BOUNDS` after their timestamp.",
    )

    class Meta:
        db_table = "arrival_minutes"
        db_table_comment = "Rollup of arrivals by minute, ecosystem, agent and transport"
        constraints = [
            models.UniqueConstraint(
                fields=["minute", "ecosystem", "agent_source", "transport"], name="arrival_minutes_key"
            )
        ]


class ArrivalHour(models.Model):
    """The same by hour: what a day's chart and a week's usual rate are read from."""

    hour = models.DateTimeField()
    ecosystem = models.TextField()
    agent_source = models.TextField("agent")
    transport = models.TextField()
    accepted = models.BigIntegerField(default=0)
    duplicates = models.BigIntegerField(default=0)
    conflicts = models.BigIntegerField(default=0)
    refused = models.BigIntegerField(default=0)
    last_at = models.DateTimeField()

    class Meta:
        db_table = "arrival_hours"
        db_table_comment = "Rollup of arrivals by hour, ecosystem, agent and transport"
        constraints = [
            models.UniqueConstraint(
                fields=["hour", "ecosystem", "agent_source", "transport"], name="arrival_hours_key"
            )
        ]


class Agent(models.Model):
    """An agent as the hub knows it: from what it sent."""

    ecosystem = models.TextField()
    agent_source = models.TextField("agent", blank=True)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    last_transport = models.TextField()
    signals = models.BigIntegerField(default=0)
    expected_cadence = models.DurationField(
        null=True, blank=True, help_text="Longest usual time between two signals; empty until set."
    )

    class Meta:
        db_table = "agents"
        db_table_comment = "Agents, when each was last seen and how often it is expected"
        constraints = [models.UniqueConstraint(fields=["ecosystem", "agent_source"], name="agents_key")]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.agent_source or '(unnamed)'}"


class SymbolAlias(models.Model):
    """A symbol whose instrument cannot be told from its spelling: seen so far, or mapped by an operator."""

    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    symbol = models.TextField(help_text="As the agent writes it.")
    instrument = models.TextField(
        blank=True, help_text="Its canonical name, as BTC/USDT or EUR/USD; empty while it is not mapped."
    )
    first_seen = models.DateTimeField(null=True, editable=False)
    last_seen = models.DateTimeField(null=True, editable=False)
    signals = models.BigIntegerField(default=0, editable=False)

    class Meta:
        db_table = "symbol_aliases"
        db_table_comment = "Instruments of symbols whose spelling does not tell, as an operator mapped them"
        verbose_name = "symbol alias"
        verbose_name_plural = "symbol aliases"
        constraints = [models.UniqueConstraint(fields=["ecosystem", "symbol"], name="symbol_aliases_key")]

    def __str__(self) -> str:
        return f"{self.ecosystem}/{self.symbol}"
