"""Prices of subscriptions, now and earlier, and the revenue from them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from commerce.admin import revenue
from commerce.billing import prices, subscriptions
from commerce.models import Customer, Plan, Subscription, SubscriptionPrice
from tests.commerce.billing.test_billing import outcome_of

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)


def revenue_at(ago: timedelta = timedelta(0)) -> dict[str, Decimal]:
    return revenue.monthly_revenue(timezone.now() - ago)


def seconds(ago: timedelta) -> int:
    return int((timezone.now() - ago).timestamp())


def test_a_plans_new_price_does_not_change_the_revenue_of_its_subscribers(plan, buyer):
    subscriptions.start_subscription(buyer, plan)
    Plan.objects.update(price=Decimal("49.99"), currency="EUR", interval="year")
    assert revenue_at() == {"USD": Decimal("29.99")}
    later = Customer.objects.create(email="later@example.com")
    subscriptions.start_subscription(later, Plan.objects.get())
    assert revenue_at() == {"USD": Decimal("29.99"), "EUR": Decimal("4.17")}


def test_a_manual_change_of_plan_costs_from_then_on(plan, buyer):
    ours = subscriptions.start_subscription(buyer, plan)
    Subscription.objects.update(started_at=timezone.now() - 40 * DAY)
    SubscriptionPrice.objects.update(since=timezone.now() - 40 * DAY)
    ours.plan = Plan.objects.create(slug="more", name="More", price=99)
    ours.save()
    ours.save()
    assert SubscriptionPrice.objects.count() == 2
    assert (revenue_at(), revenue_at(DAY)) == ({"USD": Decimal("99.00")}, {"USD": Decimal("29.99")})


def test_a_trial_never_counts_as_revenue(plan, buyer):
    plan.trial_days = 14
    subscriptions.start_trial_or_free(buyer, plan)
    assert revenue_at() == {}
    Subscription.objects.update(started_at=timezone.now() - 20 * DAY, ends_at=timezone.now() - 6 * DAY)
    subscriptions.expire_subscriptions()
    assert (revenue_at(), revenue_at(10 * DAY)) == ({}, {})


def test_a_subscription_cancelled_without_a_date_ends_now(plan, buyer):
    ours = subscriptions.start_subscription(buyer, plan)
    SubscriptionPrice.objects.update(since=timezone.now() - DAY)
    ours.state = "cancelled"
    ours.save()
    assert ours.ends_at
    assert ours.cancelled_at == ours.ends_at
    assert (revenue_at(), revenue_at(DAY / 2)) == ({}, {"USD": Decimal("29.99")})


def test_past_due_counts_until_the_grace_period_is_over(plan, buyer):
    ours = subscriptions.start_subscription(buyer, plan)
    Subscription.objects.update(state="past_due", grace_until=timezone.now() - DAY)
    SubscriptionPrice.objects.update(since=timezone.now() - 10 * DAY)
    subscriptions.expire_subscriptions()
    ours.refresh_from_db()
    assert (ours.state, ours.ends_at) == ("expired", ours.grace_until)
    assert (revenue_at(), revenue_at(2 * DAY)) == ({}, {"USD": Decimal("29.99")})


def test_stripes_price_counts_rather_than_the_plans(local, client, plan, buyer):
    local.price("price_pro", 1999, currency="eur")
    subscription = local.subscribe(buyer.pk, price="price_pro")
    outcome_of(client, "customer.subscription.created", subscription)
    assert revenue_at() == {"EUR": Decimal("19.99")}
    subscription["items"]["data"][0]["quantity"] = 3
    outcome_of(client, "customer.subscription.updated", subscription)
    outcome_of(client, "customer.subscription.updated", subscription)
    assert revenue_at() == {"EUR": Decimal("59.97")}
    assert SubscriptionPrice.objects.count() == 2


def test_a_trial_at_stripe_pays_from_its_end(local, client, plan, buyer):
    trial_end = int(time.time()) + 14 * 86_400
    subscription = local.subscribe(buyer.pk, "trialing", price="price_pro", trial_end=trial_end)
    outcome_of(client, "customer.subscription.created", subscription)
    assert revenue_at() == {}
    assert revenue_at(-15 * DAY) == {"USD": Decimal("9.99")}
    subscription["trial_end"] = trial_end + 86_400
    outcome_of(client, "customer.subscription.updated", subscription)
    [price] = SubscriptionPrice.objects.all()
    assert price.since == datetime.fromtimestamp(trial_end + 86_400, UTC)


def test_a_resumed_subscription_has_a_gap_in_its_revenue(local, client, plan, buyer):
    subscription = local.subscribe(buyer.pk, price="price_pro", start_date=seconds(60 * DAY))
    outcome_of(client, "customer.subscription.created", subscription)
    subscription["status"] = "unpaid"
    outcome_of(client, "customer.subscription.updated", subscription)
    Subscription.objects.update(ends_at=timezone.now() - 20 * DAY)
    subscription["status"] = "active"
    outcome_of(client, "customer.subscription.updated", subscription)
    assert revenue_at(30 * DAY) == revenue_at() == {"USD": Decimal("9.99")}
    assert revenue_at(10 * DAY) == {}


@pytest.mark.parametrize(
    ("interval", "count", "amount", "expected"),
    [
        ("month", 1, 999, ("9.99", "month")),
        ("month", 3, 3000, ("10", "month")),
        ("year", 1, 12000, ("120", "year")),
        ("year", 2, 24000, ("10", "month")),
        ("week", 1, 300, ("13", "month")),
        ("month", 1, None, ("0", "month")),
    ],
)
def test_other_intervals_count_per_month(local, interval, count, amount, expected):
    local.price("price_x", amount, interval=interval, count=count)
    found = prices.subscription_terms(local.subscribe(1, price="price_x"))
    assert (found.price, found.interval) == (Decimal(expected[0]), expected[1])


@pytest.mark.parametrize(("currency", "units"), [("jpy", 999), ("kwd", 999_000), ("ugx", 99_900)])
def test_amounts_are_read_in_their_currencys_smallest_unit(local, currency, units):
    local.price("price_x", units, currency=currency)
    found = prices.subscription_terms(local.subscribe(1, price="price_x"))
    assert (found.price, found.currency) == (Decimal(999), currency.upper())


def test_of_several_currencies_the_subscriptions_own_counts(local):
    local.price("price_x", 999, currency_options={"eur": {"unit_amount": 899}, "usd": {"unit_amount": 999}})
    subscription = local.subscribe(1, price="price_x", currency="eur")
    assert "currency_options" not in subscription["items"]["data"][0]["price"]
    found = prices.subscription_terms(subscription)
    assert (found.price, found.currency) == (Decimal("8.99"), "EUR")
