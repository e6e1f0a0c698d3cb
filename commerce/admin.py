"""The operator's side of commerce: plans, customers, subscriptions, deliveries, revenue."""

from typing import Any

import stripe
from django import forms
from django.contrib import admin
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from aggregator.admin.base import ReadOnlyAdmin
from aggregator.dashboard import CHART_OPTIONS
from aggregator.models import ECOSYSTEM_CHOICES
from commerce import overview
from commerce.billing import prices
from commerce.billing.client import is_configured
from commerce.models import (
    Attempt,
    Customer,
    Delivery,
    Endpoint,
    Plan,
    StripeEvent,
    Subscription,
    SubscriptionPrice,
)
from commerce.pages import context

LOOKS = {
    "active": "success",
    "trialing": "info",
    "past_due": "warning",
    "delivered": "success",
    "waiting": "warning",
    "failed": "danger",
    "disabled": "danger",
}


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]
    ecosystems = forms.MultipleChoiceField(
        choices=ECOSYSTEM_CHOICES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,
        help_text="None means all of them.",
    )

    class Meta:
        model = Plan
        fields = "__all__"  # noqa: DJ007 - the admin's fieldsets choose

    def clean(self) -> dict[str, Any]:
        """Refuse a price that Stripe has otherwise: customers would pay what no list says."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        price, currency = values.get("price"), values.get("currency", "")
        if price and price != round(price, min(2, prices.digits(currency))):
            self.add_error("price", f"{currency} has no decimals.")
        if values.get("stripe_price_id") and not self.errors and is_configured():
            try:
                found = prices.of_catalogue(values["stripe_price_id"])
            except stripe.StripeError as error:
                self.add_error("stripe_price_id", f"Stripe says: {error.user_message or error}")
            else:
                listed = (values["price"], values["currency"], values["interval"])
                if (found.price, found.currency, found.interval) != listed:
                    told = f"{found.price:.2f} {found.currency} a {found.interval}"
                    self.add_error(
                        "stripe_price_id", f"At Stripe this is {told}: the list has to say the same."
                    )
        return values


@admin.register(Plan)
class PlanAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    form = PlanForm
    list_display = ("name", "price", "currency", "interval", "signals_per_day", "live", "is_public")
    fieldsets = (
        (None, {"fields": (("name", "slug"), "description", ("rank", "is_public"))}),
        ("Price", {"fields": (("price", "currency"), ("interval", "trial_days"), "stripe_price_id")}),
        ("What it shows", {"fields": ("ecosystems", "instruments", ("delay", "history_days"), "payload")}),
        ("How much", {"fields": (("requests_per_day", "signals_per_day"), ("streams", "webhooks"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        live = Q(subscriptions__state__in=Subscription.LIVE)
        rows: QuerySet[Plan] = super().get_queryset(request)
        return rows.annotate(live_count=Count("subscriptions", filter=live))

    @display(description="Subscriptions", ordering="live_count")  # type: ignore[untyped-decorator]
    def live(self, plan: Any) -> int:
        return int(plan.live_count)


class SubscriptionInline(TabularInline):  # type: ignore[misc]
    """A customer's subscriptions, to look at: each is given and changed on a page of its own."""

    model = Subscription
    extra = 0
    fields = readonly_fields = ("plan", "state", "ends_at")
    can_delete = False
    show_change_link = True
    ordering = ("-started_at",)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Customer)
class CustomerAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("email", "name", "plan", "state", "created_at")
    search_fields = ("email", "name", "stripe_customer_id")
    list_filter = (("subscriptions__plan", admin.RelatedOnlyFieldListFilter),)
    ordering = ("-created_at",)
    autocomplete_fields = ("user",)
    inlines = (SubscriptionInline,)
    actions_list = ("overview",)
    actions_detail = ("as_customer", "give")
    readonly_fields = ("stripe_customer_id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:  # noqa: ARG002
        """Leave who signs in as a customer to those who may change users."""
        may = request.user.has_perm("auth.change_user")
        return self.readonly_fields if may else ("user", *self.readonly_fields)

    # Named here: for a permission by its full name the package's own check asks the database, also before
    # there are tables.
    def has_revenue_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("commerce.view_subscription")

    def has_give_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("commerce.add_subscription")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Keep who still pays: without the customer here, Stripe would go on charging."""
        deleted, counts, needed, protected = super().get_deleted_objects(objs, request)
        paid = Subscription.objects.filter(customer__in=objs, stripe_subscription_id__isnull=False)
        for subscription in paid.exclude(state=Subscription.State.CANCELLED):
            protected.append(f"{subscription}: cancel it at Stripe first")
        return deleted, counts, needed, protected

    def get_queryset(self, request: HttpRequest) -> QuerySet[Customer]:
        rows: QuerySet[Customer] = super().get_queryset(request)
        return rows.prefetch_related("subscriptions__plan")

    @display(description="Plan")  # type: ignore[untyped-decorator]
    def plan(self, customer: Customer) -> str:
        live = self._live(customer)
        return live.plan.name if live else "none"

    @display(description="State", label=LOOKS)  # type: ignore[untyped-decorator]
    def state(self, customer: Customer) -> Any:
        live = self._live(customer)
        return (live.state, live.get_state_display()) if live else ("none", "none")

    def _live(self, customer: Customer) -> Subscription | None:
        """Return the live subscription, from what was prefetched."""
        rows = customer.subscriptions.all()
        return next((row for row in rows if row.state in Subscription.LIVE), None)

    @action(  # type: ignore[untyped-decorator]
        description="Revenue and usage",
        icon="monitoring",
        url_path="overview",
        permissions=["view", "revenue"],
    )
    def overview(self, request: HttpRequest) -> HttpResponse:
        """Show monthly recurring revenue, subscriptions, usage and deliveries."""
        page = {**self.admin_site.each_context(request), "title": "Revenue and usage", "opts": self.opts}
        page |= overview.figures() | {"chart_options": CHART_OPTIONS}
        return render(request, "admin/commerce/overview.html", page)

    @action(  # type: ignore[untyped-decorator]
        description="As the customer sees it", icon="visibility", url_path="seen", permissions=["view"]
    )
    def as_customer(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the customer's own account page, without what acts."""
        customer = get_object_or_404(Customer, pk=object_id)
        LogEntry.objects.log_actions(
            int(request.user.pk or 0), [customer], CHANGE, change_message="Seen as the customer sees it."
        )
        page = {**self.admin_site.each_context(request), "opts": self.opts, "acts": False}
        page |= {"title": f"{customer.email}, as the customer sees it", **context.account(customer)}
        return render(request, "admin/commerce/as_customer.html", page)

    @action(  # type: ignore[untyped-decorator]
        description="Give a plan", icon="redeem", url_path="give", permissions=["give"]
    )
    def give(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Lead to a new subscription of this customer's."""
        return redirect(f"{reverse('admin:commerce_subscription_add')}?customer={object_id}")


class PriceInline(TabularInline):  # type: ignore[misc]
    model = SubscriptionPrice
    extra = 0
    fields = readonly_fields = ("since", "plan")  # each row's title says the price
    can_delete = False
    verbose_name_plural = "What it costs, and did"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


TOLD_BY_STRIPE = (
    "period_ends_at",
    "grace_until",
    "cancelled_at",
    "stripe_subscription_id",
    "stripe_event_at",
)


@admin.register(Subscription)
class SubscriptionAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ("customer", "plan", "shown_state", "started_at", "period_ends_at", "ends_at", "paid_by")
    list_filter = ("state", "plan")
    list_select_related = ("customer", "plan")
    search_fields = ("customer__email", "stripe_subscription_id")
    autocomplete_fields = ("customer",)
    ordering = ("-started_at",)
    readonly_fields = ("stripe_subscription_id", "stripe_event_at")
    fieldsets = (
        (None, {"fields": ("customer", "plan", "state", "started_at", "ends_at")}),
        ("Told by Stripe, else empty", {"fields": TOLD_BY_STRIPE}),
    )

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = super().get_fieldsets(request, obj)
        return shown if obj else shown[:1]

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:  # noqa: ARG002
        return (PriceInline,) if obj else ()

    @display(description="State", ordering="state", label=LOOKS)  # type: ignore[untyped-decorator]
    def shown_state(self, subscription: Subscription) -> Any:
        return subscription.state, subscription.get_state_display()

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Leave what is paid at Stripe to Stripe: its next word would undo a change made here."""
        paid_there = obj is not None and obj.stripe_subscription_id and is_configured()
        return not paid_there and super().has_change_permission(request, obj)

    @display(description="Paid by")  # type: ignore[untyped-decorator]
    def paid_by(self, subscription: Subscription) -> str:
        return "Stripe" if subscription.stripe_subscription_id else "given by hand"


@admin.register(Endpoint)
class EndpointAdmin(ReadOnlyAdmin):
    list_display = ("public_id", "customer", "channel", "label", "shown_state", "failing_since", "reason")
    list_filter = ("state", "channel")
    list_select_related = ("customer",)
    search_fields = ("public_id", "customer__email", "label")
    exclude = ("sealed", "lease", "leased_until", "notify", "generation")
    ordering = ("-created_at",)

    @display(description="State", ordering="state", label=LOOKS)  # type: ignore[untyped-decorator]
    def shown_state(self, endpoint: Endpoint) -> Any:
        return endpoint.state, endpoint.get_state_display()


class AttemptInline(TabularInline):  # type: ignore[misc]
    model = Attempt
    extra = 0
    fields = readonly_fields = ("number", "at", "status", "error", "excerpt", "duration_ms")
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ("message_id", "endpoint", "shown_state", "attempts", "created_at", "due_at")
    list_filter = ("state",)
    list_select_related = ("endpoint",)
    search_fields = ("=message_id", "=endpoint__public_id")
    ordering = ("-id",)
    show_full_result_count = False
    inlines = (AttemptInline,)

    @display(description="State", ordering="state", label=LOOKS)  # type: ignore[untyped-decorator]
    def shown_state(self, delivery: Delivery) -> Any:
        return delivery.state, delivery.get_state_display()


@admin.register(StripeEvent)
class StripeEventAdmin(ReadOnlyAdmin):
    list_display = ("event_id", "type", "object_id", "created_at", "handled_at", "outcome")
    list_filter = ("type",)
    search_fields = ("=event_id", "=object_id")
    ordering = ("-created_at",)
    show_full_result_count = False
