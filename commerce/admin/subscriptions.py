"""Subscriptions, their prices, and the events of Stripe."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.decorators import display

from aggregator.admin.base import AddedByHand, ReadOnlyAdmin
from commerce.admin.lists import ReadOnlyInline, StateColumn
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import StripeEvent, Subscription, SubscriptionPrice


class PriceInline(ReadOnlyInline):
    model = SubscriptionPrice
    fields = readonly_fields = ("since", "plan")  # the title of each row contains the price
    verbose_name_plural = "Price history"


STRIPE_FIELDS = (
    "period_ends_at",
    "grace_until",
    "cancelled_at",
    "stripe_subscription_id",
    "stripe_event_at",
)


@admin.register(Subscription)
class SubscriptionAdmin(StateColumn, AddedByHand):
    list_display = ("customer", "plan", "state_label", "started_at", "period_ends_at", "ends_at", "billing")
    list_filter = ("state", "plan")
    list_select_related = ("customer", "plan")
    search_fields = ("customer__email", "stripe_subscription_id")
    autocomplete_fields = ("customer",)
    ordering = ("-started_at",)
    readonly_fields = ("stripe_subscription_id", "stripe_event_at")
    fieldsets = (
        (None, {"fields": ("customer", "plan", "state", "started_at", "ends_at")}),
        ("Set by Stripe", {"fields": STRIPE_FIELDS}),
    )
    add_fieldsets = fieldsets[:1]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:  # noqa: ARG002
        return (PriceInline,) if obj else ()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Protect subscriptions that Stripe bills: its next event would undo a change made here."""
        billed_there = obj is not None and obj.stripe_subscription_id and stripe_is_configured()
        return not billed_there and super().has_change_permission(request, obj)

    @display(description="Billing")  # type: ignore[untyped-decorator]
    def billing(self, subscription: Subscription) -> str:
        return "Stripe" if subscription.stripe_subscription_id else "manual"


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    list_display = ("event_id", "type", "object_id", "created_at", "handled_at", "outcome")
    list_filter = ("type",)
    search_fields = ("=event_id", "=object_id")
    ordering = ("-created_at",)
    show_full_result_count = False
