"""The operator's side of commerce: plans, customers, subscriptions, deliveries, revenue."""

from commerce.admin import customers, deliveries, plans, subscriptions

__all__ = ["customers", "deliveries", "plans", "subscriptions"]
