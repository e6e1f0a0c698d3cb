"""The tables of commerce, by subject."""

from commerce.models.catalogue import Customer, Plan, ReaderKey, Subscription
from commerce.models.reading import Checkpoint, FeedSeries, StreamLease, UsageDay

__all__ = [
    "Checkpoint",
    "Customer",
    "FeedSeries",
    "Plan",
    "ReaderKey",
    "StreamLease",
    "Subscription",
    "UsageDay",
]
