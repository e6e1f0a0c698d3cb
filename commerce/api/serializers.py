"""The API's parameters and responses."""

from datetime import date
from decimal import Decimal
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from commerce.feed import cursors
from commerce.feed.outcome_serializer import OUTCOME_STATES, Outcome
from commerce.feed.signal_serializer import ECOSYSTEMS, SIGNAL_ACTIONS, Signal
from commerce.models.subscriptions import require_instrument

MAX_PAGE_ENTRIES = 500
SIGNAL_ID = RegexValidator(r"\A[!-~]+\Z")


class CursorField(serializers.RegexField):
    """A cursor; its value is a position."""

    read = staticmethod(cursors.decode)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(rf"^{cursors.PATTERN}$", **kwargs)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        text = super().run_validation(data)
        try:
            return self.read(text)
        except cursors.InvalidCursor:
            self.fail("invalid")


class PlaceField(CursorField):
    """A cursor; its value is a `cursors.Cursor`."""

    read = staticmethod(cursors.decode_place)  # type: ignore[assignment]


class CursorQuery(serializers.Serializer[Any]):
    cursor = PlaceField(help_text="Not a cursor of this feed.")


def after_field(what: str) -> CursorField:
    text = f"A cursor: {what} behind it. Without it, from the start of the history."
    return CursorField(required=False, help_text=text)


def limit_field(what: str, default: int = 100) -> serializers.IntegerField:
    return serializers.IntegerField(
        required=False,
        default=default,
        min_value=1,
        max_value=MAX_PAGE_ENTRIES,
        help_text=f"1 to {MAX_PAGE_ENTRIES} {what}.",
    )


class CallQuery(serializers.Serializer[Any]):
    ecosystem = serializers.ChoiceField(ECOSYSTEMS, required=False, help_text="One ecosystem.")
    instrument = serializers.CharField(
        required=False,
        max_length=64,
        validators=[require_instrument],
        trim_whitespace=False,
        help_text="One instrument by its canonical name, as `BTC/USDT`.",
    )
    agent = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=128,
        trim_whitespace=False,
        help_text="One agent, as in `agent_source`.",
    )


class FilterQuery(CallQuery):
    action = serializers.ChoiceField(SIGNAL_ACTIONS, required=False, help_text="BUY, SELL, HOLD or CLOSE.")
    refers_to = serializers.CharField(
        required=False,
        max_length=128,
        validators=[SIGNAL_ID],
        trim_whitespace=False,
        help_text="Signals that close or amend the one with this `signal_id`.",
    )
    since = serializers.DateTimeField(
        required=False, help_text="Only signals whose `timestamp` is at or after this (RFC 3339)."
    )


class SignalQuery(FilterQuery):
    after = after_field("signals")
    limit = limit_field("signals")


class OutcomeQuery(CallQuery):
    after = after_field("calls")
    limit = limit_field("outcomes")
    state = serializers.ChoiceField(OUTCOME_STATES, required=False, help_text="One state.")


class RecordQuery(serializers.Serializer[Any]):
    simulated = serializers.BooleanField(
        required=False, default=False, help_text="Simulated calls in place of real ones."
    )


class OutcomePage(serializers.Serializer[Any]):
    outcomes = Outcome(many=True)
    next = serializers.CharField(help_text="The cursor to read on from: the `after` of the next request.")
    has_more = serializers.BooleanField()


class RecordGroup(serializers.Serializer[Any]):
    name = serializers.CharField(help_text="An instrument, or a month as `2026-11`.")
    closed = serializers.IntegerField()
    wins = serializers.IntegerField()
    total_r = serializers.FloatField()
    mean_r = serializers.FloatField(allow_null=True)


class EquityPoint(serializers.Serializer[Any]):
    day = serializers.DateField()
    r = serializers.FloatField(help_text="The sum of R at the end of the day (UTC).")

    def to_representation(self, instance: tuple[date, Decimal]) -> dict[str, Any]:
        day, r = instance
        return {"day": day, "r": float(r)}


class SecondsField(serializers.FloatField):
    def to_representation(self, value: Any) -> Any:
        return value.total_seconds()


class RecordFigures(serializers.Serializer[Any]):
    calls = serializers.IntegerField()
    states = serializers.DictField(child=serializers.IntegerField(), help_text="Calls in each state.")
    wins = serializers.IntegerField()
    win_rate = serializers.FloatField(allow_null=True, help_text="Among closed calls, after fees.")
    win_rate_interval = serializers.ListField(
        child=serializers.FloatField(), allow_null=True, help_text="95 % Wilson interval."
    )
    mean_r = serializers.FloatField(allow_null=True)
    median_r = serializers.FloatField(allow_null=True)
    total_r = serializers.FloatField()
    profit_factor = serializers.FloatField(allow_null=True)
    max_drawdown_r = serializers.FloatField(source="max_drawdown")
    sharpe = serializers.FloatField(allow_null=True)
    mean_holding_seconds = SecondsField(source="mean_holding", allow_null=True)
    median_lag_seconds = SecondsField(source="median_lag", allow_null=True)
    mean_slippage = serializers.FloatField(allow_null=True)
    holding_return = serializers.FloatField(
        allow_null=True, help_text="What holding the instruments instead would have returned."
    )
    equity = EquityPoint(many=True)
    absent = serializers.DictField(child=serializers.CharField(), help_text="Why a figure is null.")


class RecordOfAgent(serializers.Serializer[Any]):
    ecosystem = serializers.ChoiceField(ECOSYSTEMS)
    agent = serializers.CharField()
    simulated = serializers.BooleanField()


class AgentRecord(RecordOfAgent, RecordFigures):
    horizon_hours = serializers.CharField()
    rule_version = serializers.IntegerField()
    by_instrument = RecordGroup(many=True)
    by_month = RecordGroup(many=True)


class StreamQuery(FilterQuery):
    after = PlaceField(
        required=False, help_text="A cursor to go on from; `Last-Event-ID` wins. Without both, from now on."
    )
    outcomes = serializers.BooleanField(
        required=False, default=True, help_text="Whether to send what is decided of calls, too."
    )


class ListingQuery(serializers.Serializer[Any]):
    ecosystem = serializers.ChoiceField(ECOSYSTEMS, required=False, help_text="One ecosystem.")
    after = serializers.RegexField(
        rf"^({'|'.join(ECOSYSTEMS)})/",
        required=False,
        max_length=160,
        trim_whitespace=False,
        help_text="The `next` of the previous page.",
    )
    limit = limit_field("entries")


class Proof(serializers.Serializer[Any]):
    index = serializers.IntegerField(help_text="The leaf's index in the log.")
    leaf_data = serializers.CharField(help_text="The leaf: what is hashed into the tree.")
    content = serializers.CharField(
        help_text="The signal as the leaf commits to it, raw_payload included: the exact text."
    )
    nonce = serializers.CharField(help_text="Opens the leaf's commitment; base64.")
    size = serializers.IntegerField(help_text="The size of the tree.")
    proof = serializers.ListField(
        child=serializers.CharField(), help_text="The hashes from the leaf to the root; base64."
    )
    checkpoint = serializers.CharField(help_text="The signed checkpoint of a tree of that size.")


class SignalPage(serializers.Serializer[Any]):
    signals = Signal(many=True)
    next = serializers.CharField(help_text="The cursor for the next request, also when there is no more yet.")
    has_more = serializers.BooleanField(
        help_text="Whether there is more to read now. A page may be empty and have more behind it: "
        "a request looks at a bounded part of the feed."
    )


class Instrument(serializers.Serializer[Any]):
    ecosystem = serializers.ChoiceField(ECOSYSTEMS)
    instrument = serializers.CharField()


class InstrumentPage(serializers.Serializer[Any]):
    instruments = Instrument(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `after` of the next page; null at the end.")


class Agent(serializers.Serializer[Any]):
    ecosystem = serializers.ChoiceField(ECOSYSTEMS)
    agent = serializers.CharField(allow_blank=True)


class AgentPage(serializers.Serializer[Any]):
    agents = Agent(many=True)
    next = serializers.CharField(allow_null=True, help_text="The `after` of the next page; null at the end.")


class Rights(serializers.Serializer[Any]):
    ecosystems = serializers.ListField(child=serializers.ChoiceField(ECOSYSTEMS), allow_null=True)
    instruments = serializers.ListField(child=serializers.CharField(), allow_null=True)
    delay_seconds = serializers.FloatField()
    history_days = serializers.FloatField(allow_null=True)
    raw_payload = serializers.BooleanField()
    simulated = serializers.BooleanField(help_text="Whether signals tagged replay or synthetic are included.")
    requests_per_day = serializers.IntegerField(allow_null=True)
    signals_per_day = serializers.IntegerField(allow_null=True)
    streams = serializers.IntegerField()
    webhooks = serializers.IntegerField()


class SubscriptionState(serializers.Serializer[Any]):
    plan = serializers.CharField(source="plan.slug")
    state = serializers.ChoiceField(["trialing", "active", "past_due"])
    started_at = serializers.DateTimeField()
    period_ends_at = serializers.DateTimeField(allow_null=True)
    ends_at = serializers.DateTimeField(allow_null=True)


class Me(serializers.Serializer[Any]):
    customer = serializers.CharField(
        allow_null=True, help_text="The customer's e-mail address; null for an operator's key."
    )
    key = serializers.CharField(help_text="The id of the key that was used.")
    subscription = SubscriptionState(allow_null=True, help_text="Null where none is live.")
    rights = Rights(allow_null=True, help_text="Null where no subscription is live.")


class Counter(serializers.Serializer[Any]):
    used = serializers.IntegerField()
    limit = serializers.IntegerField(allow_null=True, help_text="Null: unlimited.")
    remaining = serializers.IntegerField(allow_null=True)


class UsageOfDay(serializers.Serializer[Any]):
    day = serializers.DateField()
    requests = serializers.IntegerField()
    signals = serializers.IntegerField()


class UsageReport(serializers.Serializer[Any]):
    requests = Counter()
    signals = Counter()
    resets_at = serializers.DateTimeField(help_text="When the limits reset.")
    days = UsageOfDay(many=True, help_text="The last 30 days with usage, newest first.")


class FieldError(serializers.Serializer[Any]):
    field = serializers.CharField()
    code = serializers.CharField()
    detail = serializers.CharField()


class ProblemDetails(serializers.Serializer[Any]):
    """RFC 9457."""

    type = serializers.CharField()
    title = serializers.CharField()
    status = serializers.IntegerField()
    detail = serializers.CharField()
    code = serializers.CharField()
    request_id = serializers.CharField()
    errors = FieldError(many=True, required=False)  # type: ignore[assignment]
    resets_at = serializers.DateTimeField(required=False, help_text="When the limit resets.")
