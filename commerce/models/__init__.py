"""The tables of commerce, by subject."""

from commerce.models.billing import StripeEvent, SubscriptionPrice
from commerce.models.catalogue import Customer, Plan, ReaderKey, Subscription
from commerce.models.deliveries import Attempt, Delivery, Endpoint
from commerce.models.reading import Checkpoint, FeedSeries, SeriesProgress, StreamLease, UsageDay

__all__ = [
    "Attempt",
    "Checkpoint",
    "Customer",
    "Delivery",
    "Endpoint",
    "FeedSeries",
    "Plan",
    "ReaderKey",
    "SeriesProgress",
    "StreamLease",
    "StripeEvent",
    "Subscription",
    "SubscriptionPrice",
    "UsageDay",
]
