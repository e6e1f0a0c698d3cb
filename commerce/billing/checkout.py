"""Stripe's hosted pages: Checkout and the customer portal, a session for each visit."""

import hashlib
import logging
from typing import Any

import stripe

from commerce import currencies
from commerce.billing.stripe_client import api_client
from commerce.models import Customer, Plan

logger = logging.getLogger("signal_hub.billing")


def checkout_url(customer: Customer, plan: Plan, success_url: str, cancel_url: str) -> str:
    """Return the URL of a Checkout session that subscribes `customer` to `plan`.

    The subscription's metadata names the customer and the plan, so that its events may arrive in any order.
    Raises stripe.StripeError.
    """
    if customer.stripe_customer_id is None:
        _create_at_stripe(customer)
    known = str(customer.stripe_customer_id)
    try:
        return _create_session(customer, plan, success_url, cancel_url)
    except stripe.InvalidRequestError as error:
        if (error.code, error.param) != ("resource_missing", "customer"):
            raise
        # Deleted at Stripe, or created in its test mode while this hub uses the live mode.
        logger.warning("customer=%d is no longer at Stripe as %s", customer.pk, known)
        _create_at_stripe(customer, instead_of=known)
        return _create_session(customer, plan, success_url, cancel_url)


def _create_at_stripe(customer: Customer, instead_of: str = "") -> None:
    """Create a customer at Stripe and store the id.

    A checkout without one creates one each time, and the portal shows the invoices of only one.
    """
    # Hashed: a header takes Latin-1 alone, and an address may have a domain in any script.
    state = hashlib.sha256(f"{instead_of} {customer.email}".encode()).hexdigest()
    created = api_client().v1.customers.create(
        {"email": customer.email, "metadata": {"customer": str(customer.pk)}},
        # Two tabs at once get the same answer, for a day. https://docs.stripe.com/api/idempotent_requests
        {"idempotency_key": f"signal-hub customer {customer.pk} {state}"},
    )
    customer.stripe_customer_id = created.id
    customer.save(update_fields=["stripe_customer_id"])


def _create_session(customer: Customer, plan: Plan, success_url: str, cancel_url: str) -> str:
    metadata = {"customer": str(customer.pk), "plan": plan.slug}
    subscription: dict[str, Any] = {"metadata": metadata}
    if plan.trial_days and not customer.subscriptions.exists():
        subscription["trial_period_days"] = plan.trial_days
    params: dict[str, Any] = {
        "mode": "subscription",
        "customer": customer.stripe_customer_id,
        "line_items": [{"quantity": 1, **_price(plan)}],
        "client_reference_id": str(customer.pk),
        "metadata": metadata,
        "subscription_data": subscription,
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    session = api_client().v1.checkout.sessions.create(params)  # type: ignore[arg-type]
    assert session.url, "a hosted session has a URL"
    return session.url


def portal_url(customer: Customer, return_url: str) -> str:
    """Return the URL of Stripe's customer portal: invoices, cards, changes, cancellation.

    Raises stripe.StripeError.
    """
    assert customer.stripe_customer_id, "only a paying customer has a portal"
    session = api_client().v1.billing_portal.sessions.create(
        {"customer": customer.stripe_customer_id, "return_url": return_url}
    )
    return session.url


def _price(plan: Plan) -> dict[str, Any]:
    """Return the plan's price in Stripe's catalogue, else one created for this session."""
    if plan.stripe_price_id:
        return {"price": plan.stripe_price_id}
    return {
        "price_data": {
            "currency": plan.currency.lower(),
            "unit_amount": currencies.to_minor_units(plan.price, plan.currency),
            "recurring": {"interval": plan.interval},
            "product_data": {"name": plan.name},
        }
    }
