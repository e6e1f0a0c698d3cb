"""Amounts as Stripe writes them, and what a subscription costs there."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import stripe

from commerce.billing.stripe_client import client

# https://docs.stripe.com/currencies#minor-units: amounts are in the currency's smallest unit.
WITHOUT_DECIMALS = frozenset(
    {"BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA"}
    | {"PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF"}
)
THREE_DECIMALS = frozenset(["BHD", "JOD", "KWD", "OMR", "TND"])

A_YEAR = {"day": 365, "week": 52, "month": 12, "year": 1}
"""How many of Stripe's intervals make a year."""


@dataclass(frozen=True)
class Terms:
    """What a subscription costs: `price` in `currency` every `interval`, a month or a year."""

    price: Decimal
    currency: str
    interval: str
    price_ids: tuple[str, ...]


def digits(currency: str) -> int:
    """Return how many decimals an amount has at Stripe."""
    return 0 if currency in WITHOUT_DECIMALS else 3 if currency in THREE_DECIMALS else 2


def minor_units(amount: Decimal, currency: str) -> int:
    """Return an amount in its currency's smallest unit, as Stripe counts."""
    return int((amount * 10 ** digits(currency)).to_integral_value())


def terms(subscription: Mapping[str, Any]) -> Terms:
    """Return what a subscription of Stripe's costs, before discounts and taxes. Raises stripe.StripeError.

    Items may be billed by other intervals than ours, which then count by the month.
    """
    items = subscription["items"]["data"]
    currency = subscription["currency"]
    by_year = all(_every(item["price"]) == ("year", 1) for item in items)
    year = Decimal(0)
    for item in items:
        interval, count = _every(item["price"])
        year += _amount(item["price"], currency) * (item.get("quantity") or 0) * A_YEAR[interval] / count
    price = year if by_year else year / 12
    return Terms(
        price=(price / 10 ** digits(currency.upper())).quantize(Decimal("0.0001")),
        currency=currency.upper(),
        interval="year" if by_year else "month",
        price_ids=tuple(item["price"]["id"] for item in items),
    )


def of_catalogue(price_id: str) -> Terms:
    """Return what one of a price of Stripe's catalogue costs. Raises stripe.StripeError."""
    price = client().v1.prices.retrieve(price_id).to_dict()
    if not price["recurring"]:
        raise stripe.StripeError("The price is paid once: it is no subscription's.")
    return terms({"currency": price["currency"], "items": {"data": [{"price": price, "quantity": 1}]}})


def _every(price: Mapping[str, Any]) -> tuple[str, int]:
    recurring = price["recurring"]
    return recurring["interval"], recurring["interval_count"]


def _amount(price: Mapping[str, Any], currency: str) -> Decimal:
    """Return what one costs; a price in several currencies names only its first without being asked."""
    if price["currency"] != currency:
        asked = client().v1.prices.retrieve(price["id"], {"expand": ["currency_options"]}).to_dict()
        price = asked.get("currency_options", {}).get(currency, {})
    # Neither is there where a price has tiers: those are counted by use, and promise no revenue.
    return Decimal(str(price.get("unit_amount") or price.get("unit_amount_decimal") or 0))
