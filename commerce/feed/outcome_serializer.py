"""An outcome as readers get it, the same over REST, streams and webhooks, with its description for them."""

from typing import Any

from rest_framework import serializers

from aggregator import models
from commerce.feed.signal_serializer import ECOSYSTEMS, DecimalTextField, FeedSerializer, PositionField

OUTCOME_STATES = [name for name, _ in models.STATE_CHOICES]


class _Call(FeedSerializer):
    cursor = PositionField(source="position", help_text="The call's, as in the feed.")
    position = serializers.IntegerField(help_text="The call's place in the ledger.")
    signal_id = serializers.CharField()
    ecosystem = serializers.ChoiceField(ECOSYSTEMS)
    agent_source = serializers.CharField()
    instrument = serializers.CharField()
    action = serializers.ChoiceField(["BUY", "SELL"])
    signal_type = serializers.CharField()
    simulated = serializers.BooleanField(source="simulation")
    recorded_at = serializers.DateTimeField()


class _Decided(FeedSerializer):
    state = serializers.ChoiceField(OUTCOME_STATES)
    exit_reason = serializers.CharField(
        allow_null=True, help_text="stop, target, close, reversal or expired; null until it is closed."
    )
    entered_at = serializers.DateTimeField(allow_null=True)
    entry_price = DecimalTextField(allow_null=True, help_text="A decimal.")
    exited_at = serializers.DateTimeField(allow_null=True)
    exit_price = DecimalTextField(allow_null=True, help_text="A decimal.")
    gross_return = DecimalTextField(allow_null=True, help_text="Of the entry price.")
    net_return = DecimalTextField(allow_null=True, help_text="After fees.")
    r_multiple = DecimalTextField(allow_null=True, help_text="In units of the risk, after fees.")
    mfe_r = DecimalTextField(allow_null=True, help_text="Greatest favourable excursion, in R.")
    mae_r = DecimalTextField(allow_null=True, help_text="Greatest adverse excursion, in R.")
    ambiguous = serializers.BooleanField(help_text="Stop and target lay in one candle; the stop counts.")
    scored_to = serializers.DateTimeField(allow_null=True)
    horizon_hours = DecimalTextField(help_text="The time stop, in open hours.")
    rule_version = serializers.IntegerField()


class Outcome(_Call, _Decided):
    """What became of a call."""


def serialize_outcome(
    call: models.TradingSignal, decided: models.Outcome | models.OutcomeEvent
) -> dict[str, Any]:
    """Return what a reader gets of a call: `decided` is the outcome, or an event of it."""
    return _Call.values(call) | _Decided.values(decided)
