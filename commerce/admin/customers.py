"""Customers, their account pages, and the overview of revenue and usage."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from unfold.decorators import action, display

from aggregator.admin.base import AddedByHand, admin_page
from commerce.admin import revenue
from commerce.admin.lists import STATE_LABELS, ReadOnlyInline
from commerce.models import Customer, Subscription
from commerce.pages import authentication, context
from commerce.webhooks import endpoints


class SubscriptionInline(ReadOnlyInline):
    """A customer's subscriptions: each is added and changed on its own page."""

    model = Subscription
    fields = readonly_fields = ("plan", "state", "ends_at")
    show_change_link = True
    ordering = ("-started_at",)


@admin.register(Customer)
class CustomerAdmin(AddedByHand):
    list_display = ("email", "name", "plan", "state", "created_at")
    search_fields = ("email", "name", "stripe_customer_id")
    list_filter = (("subscriptions__plan", admin.RelatedOnlyFieldListFilter),)
    ordering = ("-created_at",)
    autocomplete_fields = ("user",)
    inlines = (SubscriptionInline,)
    actions_list = ("overview",)
    actions_detail = ("view_account", "add_subscription")
    readonly_fields = ("stripe_customer_id",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Let only operators who may change users decide who signs in, by the user or by the address."""
        if request.user.has_perm("auth.change_user"):
            return self.readonly_fields
        return ("user", *(["email"] if obj else []), *self.readonly_fields)

    def save_model(self, request: HttpRequest, obj: Customer, form: Any, change: bool) -> None:
        """Save it; a changed address is logged, its previous owner notified, and mails go to the new one."""
        super().save_model(request, obj, form, change)
        if not change or "email" not in form.changed_data:
            return
        endpoints.follow_address(obj)
        before = form.initial["email"]
        self.log_change(request, obj, f"E-mail address changed from {before} to {obj.email}.")
        if not authentication.notify_address_change(obj, before):
            messages.warning(request, f"Could not notify {before} of the change: no e-mail could be sent.")

    # With methods, since for the full name of a permission the theme reads the database, which may not have
    # tables yet.
    def has_revenue_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("commerce.view_subscription")

    def has_add_subscription_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return request.user.has_perm("commerce.add_subscription")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Protect paying customers: after the deletion Stripe would continue to charge them."""
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
        return live.plan.name if live else "—"

    @display(description="State", label=STATE_LABELS)  # type: ignore[untyped-decorator]
    def state(self, customer: Customer) -> Any:
        live = self._live(customer)
        return (live.state, live.get_state_display()) if live else ("none", "—")

    def _live(self, customer: Customer) -> Subscription | None:
        """Return the live subscription among the prefetched ones."""
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
        page, figures = "admin/commerce/overview.html", revenue.revenue_overview()
        return admin_page(self, request, page, "Revenue and usage", **figures)

    @action(  # type: ignore[untyped-decorator]
        description="View account", icon="visibility", url_path="account", permissions=["view"]
    )
    def view_account(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the customer's account page, read-only."""
        customer = self.get_object(request, object_id)
        if customer is None:
            raise Http404
        self.log_change(request, customer, "Viewed the account page.")
        page, title = "admin/commerce/account.html", f"Account of {customer.email}"
        return admin_page(self, request, page, title, acts=False, **context.account_context(customer))

    @action(  # type: ignore[untyped-decorator]
        description="Add subscription", icon="add", permissions=["add_subscription"]
    )
    def add_subscription(self, request: HttpRequest, object_id: str) -> HttpResponse:  # noqa: ARG002
        """Redirect to a new subscription of this customer."""
        return redirect(f"{reverse('admin:commerce_subscription_add')}?customer={object_id}")
