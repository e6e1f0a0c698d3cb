"""Subscribing to a plan: immediately if nothing is due, else at Stripe."""

import logging

import stripe
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from commerce.billing import checkout, stripe_sync, subscriptions
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import Customer, Plan
from commerce.pages import context
from commerce.pages.authentication import public_url
from commerce.pages.views import customer_required

logger = logging.getLogger("signal_hub.billing")


@require_POST
@customer_required
def subscribe(request: HttpRequest, customer: Customer, slug: str) -> HttpResponse:
    """Start a free plan; redirect to Stripe for a paid one."""
    plan = get_object_or_404(Plan, slug=slug, is_public=True)
    if not stripe_is_configured():
        live = context.live_subscription(customer)
        if live is None or not live.stripe_subscription_id:
            return _start(request, customer, plan)
        messages.error(
            request, "This plan is paid at Stripe, which this hub cannot reach. Contact the operator."
        )
        return redirect("shop:account")
    try:
        if stripe_sync.has_open_subscription(customer):
            return _open_portal(request, customer)  # rather than a second paid subscription
        if plan.price == 0:
            return _start(request, customer, plan)
        paid, prices = (public_url(request, reverse(f"shop:{name}")) for name in ("account", "plans"))
        return redirect(checkout.checkout_url(customer, plan, f"{paid}?paid=1", prices))
    except (stripe.StripeError, stripe_sync.NoMatchingPlan) as error:
        return _payment_error(request, error)


@require_POST
@customer_required
def portal(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Redirect to Stripe's customer portal: invoices, cards, cancellation."""
    if not (stripe_is_configured() and customer.stripe_customer_id):
        return redirect("shop:account")
    try:
        return _open_portal(request, customer)
    except stripe.StripeError as error:
        return _payment_error(request, error)


def _open_portal(request: HttpRequest, customer: Customer) -> HttpResponse:
    return redirect(checkout.portal_url(customer, public_url(request, reverse("shop:account"))))


def _start(request: HttpRequest, customer: Customer, plan: Plan) -> HttpResponse:
    if subscriptions.start_trial_or_free(customer, plan):
        messages.success(request, f"You are now on the {plan.name} plan.")
    else:
        messages.error(request, "Online payment is not available. Contact the operator to get this plan.")
    return redirect("shop:account")


def _payment_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """Ask the customer to retry, and log the reason: often a missing setting at Stripe."""
    logger.error("stripe error: %s", error)
    messages.error(request, "Payment is unavailable. Nothing was charged. Try again later.")
    return redirect("shop:account")
