"""The tables of commerce, by subject."""

from commerce.models.billing import StripeEvent, SubscriptionPrice
from commerce.models.subscriptions import Customer, Plan, ReaderKey, Subscription
from commerce.models.usage import StreamSlot, UsageDay
from commerce.models.webhooks import Attempt, Delivery, Endpoint

__all__ = [
    "Attempt",
    "Customer",
    "Delivery",
    "Endpoint",
    "Plan",
    "ReaderKey",
    "StreamSlot",
    "StripeEvent",
    "Subscription",
    "SubscriptionPrice",
    "UsageDay",
]
