"""Customers, each as they see it themselves, and what they all bring."""

from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from unfold.admin import ModelAdmin, TabularInline
from unfold.decorators import action, display

from aggregator.admin.dashboard import CHART_OPTIONS
from commerce.admin import revenue
from commerce.admin.state_labels import STATE_LABELS
from commerce.models import Customer, Subscription
from commerce.pages import authentication, context


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

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Leave who signs in as a customer to those who may change users: also who has the address does."""
        if request.user.has_perm("auth.change_user"):
            return self.readonly_fields
        return ("user", *(["email"] if obj else []), *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Customer, form: Any, change: bool) -> None:
        """Save it; a new address is put on record, and told to the old one."""
        super().save_model(request, obj, form, change)
        if not change or "email" not in form.changed_data:
            return
        before = form.initial["email"]
        words = f"E-mail address changed from {before} to {obj.email}."
        LogEntry.objects.log_actions(int(request.user.pk or 0), [obj], CHANGE, change_message=words)
        if not authentication.notify_address_change(obj, before):
            messages.warning(request, f"{before} was not told of the change: no mail could be sent.")

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

    @display(description="State", label=STATE_LABELS)  # type: ignore[untyped-decorator]
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
        page |= revenue.revenue_overview() | {"chart_options": CHART_OPTIONS}
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
        page |= {"title": f"{customer.email}, as the customer sees it", **context.account_context(customer)}
        return render(request, "admin/commerce/as_customer.html", page)

    @action(  # type: ignore[untyped-decorator]
        description="Give a plan", icon="redeem", url_path="give", permissions=["give"]
    )
    def give(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Lead to a new subscription of this customer's."""
        return redirect(f"{reverse('admin:commerce_subscription_add')}?customer={object_id}")
