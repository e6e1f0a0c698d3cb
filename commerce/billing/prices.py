"""Prices of Stripe's subscriptions and of its catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import stripe

from commerce import currencies
from commerce.billing.stripe_client import api_client

INTERVALS_PER_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
"""How many of Stripe's intervals a year has."""


@dataclass(frozen=True)
class PriceTerms:
    """The price of a subscription: `price` in `currency` per `interval`, month or year."""

    price: Decimal
    currency: str
    interval: str
    price_ids: tuple[str, ...]


def subscription_terms(subscription: Mapping[str, Any]) -> PriceTerms:
    """Return the price of a Stripe subscription before discounts and taxes. Raises stripe.StripeError.

    Items may have other intervals than ours; their price is then per month.
    """
    items = subscription["items"]["data"]
    currency = subscription["currency"]
    by_year = all(_interval(item["price"]) == ("year", 1) for item in items)
    year = Decimal(0)
    for item in items:
        interval, count = _interval(item["price"])
        year += (
            _unit_amount(item["price"], currency)
            * (item.get("quantity") or 0)
            * INTERVALS_PER_YEAR[interval]
            / count
        )
    price = year if by_year else year / 12
    return PriceTerms(
        price=currencies.from_minor_units(price, currency.upper()).quantize(Decimal("0.0001")),
        currency=currency.upper(),
        interval="year" if by_year else "month",
        price_ids=tuple(item["price"]["id"] for item in items),
    )


def catalogue_terms(price_id: str) -> PriceTerms:
    """Return a price of Stripe's catalogue, for one item. Raises stripe.StripeError."""
    price = api_client().v1.prices.retrieve(price_id).to_dict()
    if not price["recurring"]:
        raise stripe.StripeError("This price is one-time, not recurring.")
    return subscription_terms(
        {"currency": price["currency"], "items": {"data": [{"price": price, "quantity": 1}]}}
    )


def _interval(price: Mapping[str, Any]) -> tuple[str, int]:
    recurring = price["recurring"]
    return recurring["interval"], recurring["interval_count"]


def _unit_amount(price: Mapping[str, Any], currency: str) -> Decimal:
    """Return the price of one item; by default Stripe returns only the first of several currencies."""
    if price["currency"] != currency:
        expanded = api_client().v1.prices.retrieve(price["id"], {"expand": ["currency_options"]}).to_dict()
        price = expanded.get("currency_options", {}).get(currency, {})
    # A price with tiers has neither: it is metered, without an agreed revenue.
    return Decimal(str(price.get("unit_amount") or price.get("unit_amount_decimal") or 0))
