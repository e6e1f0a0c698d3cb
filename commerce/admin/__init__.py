"""The admin of commerce: plans, customers, subscriptions, webhooks, revenue."""

from commerce.admin import customers, plans, subscriptions, webhooks

__all__ = ["customers", "plans", "subscriptions", "webhooks"]
