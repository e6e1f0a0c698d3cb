"""Taking a plan: at once where nothing is to be paid, else at Stripe."""

import logging

import stripe
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from commerce.billing import checkout, stripe_sync, subscriptions
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import Customer, Plan
from commerce.pages import context
from commerce.pages.views import customer_required

logger = logging.getLogger("signal_hub.billing")


@require_POST
@customer_required
def subscribe(request: HttpRequest, customer: Customer, slug: str) -> HttpResponse:
    """Start what is free, lead to payment for the rest."""
    plan = get_object_or_404(Plan, slug=slug, is_public=True)
    if not stripe_is_configured():
        return _without_stripe(request, customer, plan)
    try:
        if stripe_sync.has_open_subscription(customer):
            return HttpResponseRedirect(_portal_url(request, customer))  # paying for two is nobody's wish
        if plan.price == 0:
            return _start(request, customer, plan)
        paid, prices = (request.build_absolute_uri(reverse(f"shop:{name}")) for name in ("account", "plans"))
        return HttpResponseRedirect(checkout.checkout_url(customer, plan, f"{paid}?paid=1", prices))
    except (stripe.StripeError, stripe_sync.NoMatchingPlan) as error:
        return _payment_error(request, error)


@require_POST
@customer_required
def portal(request: HttpRequest, customer: Customer) -> HttpResponse:
    """Lead to Stripe's portal: invoices, cards, cancelling."""
    if not (stripe_is_configured() and customer.stripe_customer_id):
        return redirect("shop:account")
    try:
        return HttpResponseRedirect(_portal_url(request, customer))
    except stripe.StripeError as error:
        return _payment_error(request, error)


def _portal_url(request: HttpRequest, customer: Customer) -> str:
    return checkout.portal_url(customer, request.build_absolute_uri(reverse("shop:account")))


def _without_stripe(request: HttpRequest, customer: Customer, plan: Plan) -> HttpResponse:
    live = context.live_subscription(customer)
    if live and live.stripe_subscription_id:
        messages.error(request, "This is paid at Stripe, which this hub cannot reach: write to its operator.")
        return redirect("shop:account")
    return _start(request, customer, plan)


def _start(request: HttpRequest, customer: Customer, plan: Plan) -> HttpResponse:
    if subscriptions.start_trial_or_free(customer, plan):
        messages.success(request, f"{plan.name} is yours.")
    else:
        messages.error(request, "This hub takes no payment here: write to its operator for this plan.")
    return redirect("shop:account")


def _payment_error(request: HttpRequest, error: Exception) -> HttpResponse:
    """Tell the customer to wait, and the operator why: often a setting at Stripe is missing."""
    logger.error("stripe refuses or does not answer: %s", error)
    messages.error(request, "Payment is out of reach now. Try again later; nothing was charged.")
    return redirect("shop:account")
