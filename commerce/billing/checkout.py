"""Where a customer pays and looks after payment: pages of Stripe's, made for one visit."""

import logging
from typing import Any

import stripe

from commerce.billing.prices import minor_units
from commerce.billing.stripe_client import api_client
from commerce.models import Customer, Plan

logger = logging.getLogger("signal_hub.billing")


def checkout_url(customer: Customer, plan: Plan, success_url: str, cancel_url: str) -> str:
    """Return the address of a Checkout session that subscribes `customer` to `plan`.

    The subscription carries who and what in its metadata, so that events are understood in any order.
    Raises NoStripe or stripe.StripeError.
    """
    known = customer.stripe_customer_id
    try:
        return _create_session(customer, plan, success_url, cancel_url)
    except stripe.InvalidRequestError as error:
        if known is None or (error.code, error.param) != ("resource_missing", "customer"):
            raise
        # Deleted at Stripe, or of its test mode while this is the live one.
        logger.warning("customer=%d is %s no longer at Stripe", customer.pk, known)
        customer.stripe_customer_id = None
        customer.save(update_fields=["stripe_customer_id"])
        return _create_session(customer, plan, success_url, cancel_url)


def _create_session(customer: Customer, plan: Plan, success_url: str, cancel_url: str) -> str:
    about = {"customer": str(customer.pk), "plan": plan.slug}
    subscription: dict[str, Any] = {"metadata": about}
    if plan.trial_days and not customer.subscriptions.exists():
        subscription["trial_period_days"] = plan.trial_days
    params: dict[str, Any] = {
        "mode": "subscription",
        "customer": _stripe_customer_id(customer),
        "line_items": [{"quantity": 1, **_price(plan)}],
        "client_reference_id": str(customer.pk),
        "metadata": about,
        "subscription_data": subscription,
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    session = api_client().v1.checkout.sessions.create(params)  # type: ignore[arg-type]
    assert session.url, "a hosted session has an address"
    return session.url


def _stripe_customer_id(customer: Customer) -> str:
    """Return Stripe's id of a customer, made before the first checkout.

    A checkout without one makes one each time, and the portal shows the invoices of one alone.
    """
    if customer.stripe_customer_id is None:
        made = api_client().v1.customers.create(
            {"email": customer.email, "metadata": {"customer": str(customer.pk)}},
            # Two tabs at once get the same answer. https://docs.stripe.com/api/idempotent_requests
            {"idempotency_key": f"signal-hub customer {customer.pk} {customer.email}"[:255]},
        )
        customer.stripe_customer_id = made.id
        customer.save(update_fields=["stripe_customer_id"])
    return customer.stripe_customer_id


def portal_url(customer: Customer, return_url: str) -> str:
    """Return the address of Stripe's portal: invoices, cards, changing and cancelling.

    Raises NoStripe or stripe.StripeError.
    """
    assert customer.stripe_customer_id, "the portal is for those who have paid"
    session = api_client().v1.billing_portal.sessions.create(
        {"customer": customer.stripe_customer_id, "return_url": return_url}
    )
    return session.url


def _price(plan: Plan) -> dict[str, Any]:
    """Return the plan's price: that of Stripe's catalogue, else one made for this session."""
    if plan.stripe_price_id:
        return {"price": plan.stripe_price_id}
    return {
        "price_data": {
            "currency": plan.currency.lower(),
            "unit_amount": minor_units(plan.price, plan.currency),
            "recurring": {"interval": plan.interval},
            "product_data": {"name": plan.name},
        }
    }
