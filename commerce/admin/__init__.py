"""The operator's side of commerce: plans, customers, subscriptions, deliveries, revenue."""

from commerce.admin import customers, plans, subscriptions, webhooks

__all__ = ["customers", "plans", "subscriptions", "webhooks"]
