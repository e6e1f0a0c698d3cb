"""Plans, customers, their subscriptions and reader keys."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from aggregator.http import api_keys
from aggregator.models import ECOSYSTEM_CHOICES, ApiKey
from commerce import currencies
from ecosystems.signal import is_symbol

MAX_DAYS = 36_500
"""A hundred years: no calendar holds what a trial or a delay of some thousand years leads to."""
MAX_DELAY = timedelta(days=MAX_DAYS)


def require_currency(code: str) -> None:
    """Raise ValidationError for a currency that cannot be charged."""
    if code not in currencies.CURRENCIES:
        raise ValidationError("Enter the three capital letters of a currency that Stripe can charge.")


def require_instrument(text: str) -> None:
    """Raise ValidationError for what can be neither an instrument's name nor a pattern of such names."""
    if not is_symbol(text):
        raise ValidationError("Enter 1 to 64 printable characters, with single spaces inside.")


class Plan(models.Model):
    """A product: which signals, with which delay, how many."""

    INTERVALS = (("month", "per month"), ("year", "per year"))

    slug = models.SlugField(unique=True, help_text="Identifies the plan in the API. Do not change it.")
    name = models.CharField(max_length=64)
    description = models.TextField(blank=True)
    price = models.DecimalField(
        max_digits=13, decimal_places=3, default=Decimal(0), validators=[MinValueValidator(Decimal(0))]
    )
    currency = models.CharField(max_length=3, default="USD", validators=[require_currency])
    interval = models.CharField(max_length=5, choices=INTERVALS, default="month")
    ecosystems = ArrayField(
        models.TextField(choices=ECOSYSTEM_CHOICES),
        default=list,
        blank=True,
        help_text="Select none to allow all.",
    )
    instruments = ArrayField(
        models.CharField(max_length=64, validators=[require_instrument]),
        default=list,
        blank=True,
        help_text="Patterns such as BTC/* or EUR/USD: * is any text, ? any character. Empty: all.",
    )
    delay = models.DurationField(
        default=timedelta(0),
        validators=[MinValueValidator(timedelta(0)), MaxValueValidator(MAX_DELAY)],
        help_text="How long signals are withheld after they are recorded.",
    )
    history_days = models.PositiveIntegerField(
        null=True, blank=True, help_text="How many days of signals can be read. Empty: all."
    )
    requests_per_day = models.PositiveBigIntegerField(null=True, blank=True, help_text="Empty: unlimited.")
    signals_per_day = models.PositiveBigIntegerField(null=True, blank=True, help_text="Empty: unlimited.")
    streams = models.PositiveIntegerField(default=0, help_text="Live streams open at the same time.")
    webhooks = models.PositiveIntegerField(default=0, help_text="Webhook and chat endpoints.")
    payload = models.BooleanField(
        "raw payload", default=False, help_text="Include the raw_payload of signals."
    )
    simulated = models.BooleanField(
        "simulated signals",
        default=False,
        help_text="Include signals tagged replay (of history) or synthetic (of made-up prices).",
    )
    trial_days = models.PositiveIntegerField(default=0, validators=[MaxValueValidator(MAX_DAYS)])
    is_public = models.BooleanField("public", default=True, help_text="Listed on the pricing page.")
    rank = models.IntegerField(default=0, help_text="Order on the pricing page, lowest first.")
    stripe_price_id = models.CharField(max_length=255, blank=True)

    class Meta:
        db_table = "plans"
        ordering = ["rank", "price", "slug"]
        constraints = [
            models.CheckConstraint(condition=Q(price__gte=0), name="plans_price"),
            models.CheckConstraint(condition=Q(delay__range=(timedelta(0), MAX_DELAY)), name="plans_delay"),
            models.CheckConstraint(condition=Q(trial_days__lte=MAX_DAYS), name="plans_trial_days"),
            models.UniqueConstraint(
                fields=["stripe_price_id"],
                condition=~Q(stripe_price_id=""),
                name="plans_stripe_price",
                violation_error_message="Another plan has this Stripe price.",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def written_price(self) -> str:
        """The price with its currency, as people write it."""
        return currencies.written(self.price, self.currency)


class Customer(models.Model):
    """A reader of the feed, who signs in as `user`."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="customer"
    )
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=128, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    stripe_customer_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    is_unproven = models.BooleanField(
        default=False,
        editable=False,
        db_default=False,
        help_text="Signed up with a password; that the address is theirs was never proven.",
    )

    class Meta:
        db_table = "customers"

    def __str__(self) -> str:
        return self.email

    def subscription(self) -> "Subscription | None":
        """Return the subscription that grants access now, with its plan."""
        return Subscription.objects.entitling(timezone.now()).filter(customer=self).first()

    def issue_key(self, name: str, expires_at: datetime | None = None) -> api_keys.IssuedKey:
        """Create a reader key and return it with its value, which is not stored."""
        key = ApiKey(
            key_id=api_keys.new_key_id(name or "reader"),
            name=name,
            scopes=[api_keys.READ],
            expires_at=expires_at,
        )
        with transaction.atomic():  # a key without its customer would be an operator's
            issued = api_keys.auth_manager(settings.ENVIRONMENT).issue(key)
            ReaderKey.objects.create(customer=self, key=key)
        return issued


class SubscriptionQuerySet(models.QuerySet["Subscription"]):
    def entitling(self, now: datetime) -> "SubscriptionQuerySet":
        """Return those that grant access at `now`, with their plans."""
        paid = Q(state__in=(Subscription.State.TRIALING, Subscription.State.ACTIVE))
        in_grace = Q(state=Subscription.State.PAST_DUE, grace_until__gt=now)
        unended = Q(ends_at=None) | Q(ends_at__gt=now)
        return self.filter(paid | in_grace).filter(unended).select_related("plan")


class Subscription(models.Model):
    """A customer's subscription to a plan. A customer has at most one that is live."""

    class State(models.TextChoices):
        TRIALING = "trialing", "trialing"
        ACTIVE = "active", "active"
        PAST_DUE = "past_due", "past due"
        CANCELLED = "cancelled", "cancelled"
        EXPIRED = "expired", "expired"

    LIVE = (State.TRIALING, State.ACTIVE, State.PAST_DUE)

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="subscriptions")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="subscriptions")
    state = models.CharField(max_length=9, choices=State, default=State.ACTIVE)
    started_at = models.DateTimeField(default=timezone.now)
    period_ends_at = models.DateTimeField(null=True, blank=True, help_text="The end of the paid period.")
    ends_at = models.DateTimeField(null=True, blank=True, help_text="When access ends. Empty: open-ended.")
    grace_until = models.DateTimeField(
        null=True, blank=True, help_text="Until when a past due subscription grants access."
    )
    cancelled_at = models.DateTimeField(null=True, blank=True)
    stripe_subscription_id = models.CharField(max_length=255, null=True, blank=True, unique=True)
    stripe_event_at = models.DateTimeField(
        null=True, blank=True, editable=False, help_text="The newest Stripe event that was applied."
    )

    objects = SubscriptionQuerySet.as_manager()

    class Meta:
        db_table = "subscriptions"
        constraints = [
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(state__in=("trialing", "active", "past_due")),
                name="subscriptions_one_live",
                violation_error_message="The customer already has a live subscription. End that one first.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.customer}: {self.plan} ({self.get_state_display()})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Save it, with an end if it is over, and the present price of its plan unless Stripe bills it."""
        now = timezone.now()
        if self.state not in self.LIVE and (self.ends_at is None or self.ends_at > now):
            self.ends_at = now
        if self.state == self.State.CANCELLED:
            self.cancelled_at = self.cancelled_at or self.ends_at
        super().save(*args, **kwargs)
        if self.stripe_subscription_id is None and self.state != self.State.TRIALING:
            self._record_plan_price(now)

    def _record_plan_price(self, now: datetime) -> None:
        last = self.prices.last()
        if last is None or last.plan_id != self.plan_id:
            plan = self.plan
            self.prices.create(
                plan=plan,
                since=max(last.since, now) if last else self.started_at,
                price=plan.price,
                currency=plan.currency,
                interval=plan.interval,
            )


class ReaderKey(models.Model):
    """The link of an ApiKey, which has its scopes, rotation and last use, to its customer."""

    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="reader_keys")
    key = models.OneToOneField(ApiKey, on_delete=models.CASCADE, related_name="reader")

    class Meta:
        db_table = "reader_keys"

    def __str__(self) -> str:
        return self.key.key_id


@receiver(post_delete, sender=ReaderKey)
def delete_key(instance: ReaderKey, **_: Any) -> None:
    """Delete a key with its link, as when its customer is deleted: without one it would be an operator's."""
    ApiKey.objects.filter(pk=instance.key_id).delete()
