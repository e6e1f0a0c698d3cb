"""Where a customer pays and looks after payment: pages of Stripe's, made for one visit."""

from decimal import Decimal
from typing import Any

from commerce.billing.client import client
from commerce.models import Customer, Plan

# https://docs.stripe.com/currencies#minor-units: amounts are in the currency's smallest unit.
WITHOUT_DECIMALS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"}
    | {"PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])


def checkout_url(customer: Customer, plan: Plan, success_url: str, cancel_url: str) -> str:
    """Return the address of a Checkout session that subscribes `customer` to `plan`.

    The subscription carries who and what in its metadata, so that events are understood in any order.
    Raises NoStripe or stripe.StripeError.
    """
    about = {"customer": str(customer.pk), "plan": plan.slug}
    subscription: dict[str, Any] = {"metadata": about}
    if plan.trial_days and not customer.subscriptions.exists():
        subscription["trial_period_days"] = plan.trial_days
    params: dict[str, Any] = {
        "mode": "subscription",
        "line_items": [{"quantity": 1, **_price(plan)}],
        "client_reference_id": str(customer.pk),
        "metadata": about,
        "subscription_data": subscription,
        "success_url": success_url,
        "cancel_url": cancel_url,
    }
    if customer.stripe_customer_id:
        params["customer"] = customer.stripe_customer_id
    else:
        params["customer_email"] = customer.email
    session = client().v1.checkout.sessions.create(params)  # type: ignore[arg-type]
    assert session.url, "a hosted session has an address"
    return session.url


def portal_url(customer: Customer, return_url: str) -> str:
    """Return the address of Stripe's portal: invoices, cards, changing and cancelling.

    Raises NoStripe or stripe.StripeError.
    """
    assert customer.stripe_customer_id, "the portal is for those who have paid"
    session = client().v1.billing_portal.sessions.create(
        {"customer": customer.stripe_customer_id, "return_url": return_url}
    )
    return session.url


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in its currency's smallest unit, as Stripe counts."""
    digits = 0 if currency in WITHOUT_DECIMALS else 3 if currency in THREE_DECIMALS else 2
    return int((amount * 10**digits).to_integral_value())


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
