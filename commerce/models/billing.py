"""Prices of subscriptions, and events received from Stripe."""

from django.db import models
from django.utils import timezone

from commerce import currencies
from commerce.models.subscriptions import Plan, Subscription


class SubscriptionPrice(models.Model):
    """The price of a subscription from `since` on: a row for each change, so that revenue has a history.

    It is the agreed price: a change of the plan's price does not affect its subscribers.
    """

    subscription = models.ForeignKey(Subscription, on_delete=models.CASCADE, related_name="prices")
    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+")
    since = models.DateTimeField(help_text="The end of the trial, if there is one.")
    price = models.DecimalField(max_digits=14, decimal_places=4)
    currency = models.CharField(max_length=3)
    interval = models.CharField(max_length=5, choices=Plan.INTERVALS)
    stripe_price_id = models.CharField(max_length=255, blank=True)

    class Meta:
        db_table = "subscription_prices"
        ordering = ["subscription", "since", "pk"]
        indexes = [models.Index(fields=["subscription", "-since"], name="subscription_prices_latest")]

    def __str__(self) -> str:
        return f"{self.written_price} {self.get_interval_display()} since {self.since:%Y-%m-%d}"

    @property
    def written_price(self) -> str:
        """The price with its currency, as people write it."""
        return currencies.written(self.price, self.currency)


class StripeEvent(models.Model):
    """An event of Stripe that was handled; its id makes a repeated delivery harmless."""

    event_id = models.CharField(max_length=255, unique=True)
    type = models.CharField(max_length=255)
    object_id = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(help_text="When Stripe created it.")
    handled_at = models.DateTimeField(default=timezone.now)
    outcome = models.TextField(blank=True, help_text="What it changed.")

    class Meta:
        db_table = "stripe_events"
        indexes = [models.Index(fields=["-created_at"], name="stripe_events_created")]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id}"
