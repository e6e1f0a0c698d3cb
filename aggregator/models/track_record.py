"""The track record: prices, what became of each call, and when that was decided.

The tables are written by hand in `migrations/0005_track_record.py`, since anybody may insert candles.
"""

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now

from aggregator.models.signals import ECOSYSTEM_CHOICES, NumericField

STATE_CHOICES = tuple(
    (name, name) for name in ("waiting", "open", "closed", "unfilled", "missed", "cancelled", "unpriced")
)


class StoredCandle(models.Model):
    """One candle of one feed. Rows that anybody inserts are prices like any other."""

    pk = models.CompositePrimaryKey("ecosystem", "instrument", "opened_at", "seconds", "feed")
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    instrument = models.TextField()
    opened_at = models.DateTimeField()
    seconds = models.IntegerField(db_default=60, help_text="The candle's length.")
    open = NumericField()
    high = NumericField()
    low = NumericField()
    close = NumericField()
    volume = NumericField(null=True, db_default=0)
    feed = models.TextField(db_default="manual")

    class Meta:
        db_table = "candles"


class PriceSeries(models.Model):
    """The candles of one length that one feed has of an instrument.

    A call is scored with one series: of those with a candle in the time for a fill, the one that was on
    record first. So another feed changes no outcome by itself.
    """

    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    instrument = models.TextField()
    feed = models.TextField()
    seconds = models.IntegerField()
    priced_to = models.DateTimeField(help_text="The end of the last candle on record.")

    class Meta:
        db_table = "price_series"
        constraints = [
            models.UniqueConstraint(
                fields=["ecosystem", "instrument", "feed", "seconds"], name="price_series_key"
            )
        ]

    @property
    def is_synthetic(self) -> bool:
        """Whether its prices are made up; they count for simulated calls only."""
        return self.feed.partition(":")[0] == "synthetic"


class PriceRecording(models.Model):
    """How the recording of an instrument's prices from a feed fares."""

    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    instrument = models.TextField(help_text="Canonical symbol, as BTC/USDT or EUR/USD.")
    feed = models.TextField(db_default="live", default="live", help_text="live, synthetic or synthetic:SEED.")
    is_pinned = models.BooleanField(
        "pinned", db_default=False, default=False, help_text="Record it also while no call needs it."
    )
    recorded_to = models.DateTimeField(null=True, editable=False)
    due_at = models.DateTimeField(db_default=Now(), editable=False)
    claimed_until = models.DateTimeField(null=True, editable=False)
    failures = models.IntegerField(db_default=0, default=0, editable=False)
    failing_since = models.DateTimeField(null=True, editable=False)
    error = models.TextField(db_default="", default="", editable=False)

    class Meta:
        db_table = "price_recordings"
        constraints = [
            models.UniqueConstraint(fields=["ecosystem", "instrument", "feed"], name="price_recordings_key")
        ]


class PricedInstrument(models.Model):
    """An instrument that has calls or candles; the scoring of its calls locks its row."""

    pk = models.CompositePrimaryKey("ecosystem", "instrument")
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    instrument = models.TextField()
    scored_at = models.DateTimeField(db_default=Now(), help_text="When it was scored last.")
    score_at = models.DateTimeField(null=True, help_text="When the clock alone decides something of it.")

    class Meta:
        db_table = "priced_instruments"


class ScoringRequest(models.Model):
    """Something that may change outcomes of an instrument, until the scorer has taken it into account."""

    id = models.BigAutoField(primary_key=True)
    ecosystem = models.TextField()
    instrument = models.TextField()
    feed = models.TextField(null=True, help_text="Of candles: their feed.")  # noqa: DJ001 - as of no candle
    seconds = models.IntegerField(null=True)
    agent_source = models.TextField(null=True, help_text="Of a signal that ends or amends.")  # noqa: DJ001
    position = models.BigIntegerField(null=True, help_text="Of a call whose instrument has changed.")
    first_at = models.DateTimeField(null=True, help_text="From when on outcomes may change.")
    last_at = models.DateTimeField(null=True, help_text="When the last of the candles opened.")

    class Meta:
        db_table = "scoring_requests"


class CallChange(models.Model):
    """A signal that ends or amends calls: CLOSE, or BUY and SELL that refer to a call."""

    position = models.BigIntegerField(primary_key=True)
    ecosystem = models.TextField()
    agent_source = models.TextField()
    instrument = models.TextField()
    simulated = models.BooleanField()
    t0 = models.DateTimeField()
    action = models.TextField()
    refers_to = models.TextField(null=True)  # noqa: DJ001 - as the ledger has it
    stop_loss = NumericField(null=True)
    take_profit = NumericField(null=True)

    class Meta:
        db_table = "call_changes"


class Outcome(models.Model):
    """What became of a call."""

    position = models.BigIntegerField(primary_key=True, help_text="The call's, in the ledger.")
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    agent_source = models.TextField("agent")
    instrument = models.TextField()
    side = models.SmallIntegerField(help_text="1 for BUY, -1 for SELL.")
    simulated = models.BooleanField()
    t0 = models.DateTimeField(help_text="From when on the call counts.")
    lag = models.DurationField(help_text="From its timestamp to its recording.")
    fill_by = models.DateTimeField(help_text="When it is too late for a fill.")
    state = models.TextField(choices=STATE_CHOICES, db_default="waiting")
    exit_reason = models.TextField(null=True)  # noqa: DJ001 - null in the contract
    entered_at = models.DateTimeField(null=True)
    entry_price = NumericField(null=True)
    exited_at = models.DateTimeField(null=True)
    exit_price = NumericField(null=True)
    gross_return = NumericField(null=True)
    net_return = NumericField(null=True)
    r_multiple = NumericField(null=True)
    mfe_r = NumericField(null=True)
    mae_r = NumericField(null=True)
    slippage = NumericField(null=True)
    ambiguous = models.BooleanField(db_default=False)
    scored_to = models.DateTimeField(null=True, help_text="How far prices were looked at.")
    horizon_hours = NumericField(help_text="The time stop, in open hours.")
    fee_bps = NumericField()
    rule_version = models.IntegerField()
    series = models.ForeignKey(
        PriceSeries,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
    )
    chosen_series = models.ForeignKey(
        PriceSeries,
        on_delete=models.DO_NOTHING,
        null=True,
        db_constraint=False,
        db_index=False,
        related_name="+",
        help_text="The series that an operator chose.",
    )
    chosen_by = models.TextField(db_default="", help_text="The operator who chose it.")
    last_close = NumericField(null=True, help_text="What an open call is valued at.")
    daily_r = ArrayField(NumericField(), db_default=[], help_text="R at the end of each day while open.")
    stale = models.TextField(db_default="", help_text="Why it is to be scored from t0 again; else empty.")

    class Meta:
        db_table = "outcomes"
        # All are for the statistics of one agent, whose 100,000 calls may lie on 30,000 pages of the table.
        # Figures of decided calls are read from the first index alone. Those of undecided ones are in none,
        # since they change with each candle.
        indexes = [
            models.Index(
                name="outcomes_statistics",
                fields=["ecosystem", "agent_source", "simulated"],
                include=[
                    "position",
                    "lag",
                    "entered_at",
                    "exited_at",
                    "instrument",
                    "state",
                    "net_return",
                    "r_multiple",
                    "slippage",
                ],
                condition=~models.Q(state__in=["waiting", "open"]),
            ),
            # `daily_r` itself can be too long for an index.
            models.Index(
                name="outcomes_held_by_day",
                fields=["ecosystem", "agent_source", "simulated"],
                condition=~models.Q(state__in=["waiting", "open"]) & ~models.Q(daily_r=[]),
            ),
            models.Index(
                name="outcomes_undecided",
                fields=["ecosystem", "agent_source", "simulated"],
                condition=models.Q(state__in=["waiting", "open"]),
            ),
        ]


class OutcomeEvent(models.Model):
    """Something that was decided of a call. Rows are never changed; ids grow in commit order."""

    CAUSES = (
        ("prices", "new prices"),
        ("late prices", "prices that came late"),
        ("signals", "a signal that ends or amends the call"),
        ("feed", "scored from another feed"),
        ("instrument", "another instrument"),
    )

    id = models.BigAutoField(primary_key=True)
    position = models.BigIntegerField()
    decided_at = models.DateTimeField()
    cause = models.TextField(choices=CAUSES)
    decided_by = models.TextField(db_default="", help_text="The operator who chose the feed.")
    feed = models.TextField(db_default="")
    seconds = models.IntegerField(null=True)
    outlier = models.BooleanField(
        db_default=False, help_text="The candle that decided lies far from the close before it."
    )
    rule_version = models.IntegerField()
    horizon_hours = NumericField()
    fee_bps = NumericField()
    state = models.TextField(choices=STATE_CHOICES)
    exit_reason = models.TextField(null=True)  # noqa: DJ001 - null in the contract
    entered_at = models.DateTimeField(null=True)
    entry_price = NumericField(null=True)
    exited_at = models.DateTimeField(null=True)
    exit_price = NumericField(null=True)
    gross_return = NumericField(null=True)
    net_return = NumericField(null=True)
    r_multiple = NumericField(null=True)
    mfe_r = NumericField(null=True)
    mae_r = NumericField(null=True)
    ambiguous = models.BooleanField()
    scored_to = models.DateTimeField(null=True)

    class Meta:
        db_table = "outcome_events"


class AgentHorizon(models.Model):
    """The time stop that an operator set for an agent's calls from then on. Rows are never changed."""

    id = models.BigAutoField(primary_key=True)
    ecosystem = models.TextField(choices=ECOSYSTEM_CHOICES)
    agent_source = models.TextField("agent")
    hours = NumericField(null=True, help_text="Open hours; empty for the ecosystem's usual time.")
    set_at = models.DateTimeField(db_default=Now())
    set_by = models.TextField(db_default="")

    class Meta:
        db_table = "agent_horizons"
