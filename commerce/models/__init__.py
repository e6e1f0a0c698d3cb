"""The tables of commerce, by subject."""

from commerce.models.billing import StripeEvent, SubscriptionPrice
from commerce.models.subscriptions import Customer, Plan, ReaderKey, Subscription
from commerce.models.usage import StreamSlot, UsageDay
from commerce.models.webhooks import Attempt, Endpoint, Message

__all__ = [
    "Attempt",
    "Customer",
    "Endpoint",
    "Message",
    "Plan",
    "ReaderKey",
    "StreamSlot",
    "StripeEvent",
    "Subscription",
    "SubscriptionPrice",
    "UsageDay",
]
