"""Plans."""

from typing import Any

import stripe
from django import forms
from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from aggregator.models import ECOSYSTEM_CHOICES
from commerce import currencies
from commerce.billing import prices
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import Plan, Subscription


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]
    ecosystems = forms.MultipleChoiceField(
        choices=ECOSYSTEM_CHOICES,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        required=False,
        help_text="Select none to allow all.",
    )

    class Meta:
        model = Plan
        fields = "__all__"  # noqa: DJ007 - the admin's fieldsets choose

    def clean(self) -> dict[str, Any]:
        """Refuse a price that differs from Stripe's: customers would pay another than the listed one."""
        values: dict[str, Any] = super().clean() or self.cleaned_data
        price, currency = values.get("price"), values.get("currency", "")
        if price and price % currencies.price_step(currency):
            self.add_error("price", f"{currency} is charged in steps of {currencies.price_step(currency)}.")
        if values.get("stripe_price_id") and not self.errors and stripe_is_configured():
            try:
                found = prices.catalogue_terms(values["stripe_price_id"])
            except stripe.StripeError as error:
                self.add_error("stripe_price_id", f"Stripe: {error.user_message or error}")
            else:
                listed = (values["price"], values["currency"], values["interval"])
                if (found.price, found.currency, found.interval) != listed:
                    price = f"{currencies.written(found.price, found.currency)} per {found.interval}"
                    self.add_error(
                        "stripe_price_id", f"Stripe charges {price}. The plan must have that price."
                    )
        return values


@admin.register(Plan)
class PlanAdmin(ModelAdmin):  # type: ignore[misc] # the package has no types
    form = PlanForm
    list_display = ("name", "listed_price", "interval", "signals_per_day", "live", "is_public")
    fieldsets = (
        (None, {"fields": (("name", "slug"), "description", ("rank", "is_public"))}),
        ("Price", {"fields": (("price", "currency"), ("interval", "trial_days"), "stripe_price_id")}),
        (
            "Signals",
            {"fields": ("ecosystems", "instruments", ("delay", "history_days"), ("payload", "simulated"))},
        ),
        ("Limits", {"fields": (("requests_per_day", "signals_per_day"), ("streams", "webhooks"))}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Plan]:
        live = Q(subscriptions__state__in=Subscription.LIVE)
        rows: QuerySet[Plan] = super().get_queryset(request)
        return rows.annotate(live_count=Count("subscriptions", filter=live))

    @display(description="Price", ordering="price")  # type: ignore[untyped-decorator]
    def listed_price(self, plan: Plan) -> str:
        return plan.written_price

    @display(description="Subscriptions", ordering="live_count")  # type: ignore[untyped-decorator]
    def live(self, plan: Any) -> int:
        return int(plan.live_count)
