"""Template contexts of the customers' pages."""

import json
from datetime import date, datetime, timedelta
from typing import Any

from django.contrib import admin
from django.db.models import Prefetch
from django.http import HttpRequest
from django.utils import timezone

from commerce import usage
from commerce.billing.stripe_client import stripe_is_configured
from commerce.models import Customer, Endpoint, Message, Plan, Subscription, UsageDay

CHART_DAYS = 30
MAX_MESSAGES_SHOWN = 5
"""The newest messages of each endpoint."""
MAX_KEYS_SHOWN = 50


def page_context(request: HttpRequest, title: str, **more: Any) -> dict[str, Any]:
    """Return the context of every page: the admin's theme, and the signed-in customer."""
    customer = signed_in_customer(request)
    return {**admin.site.each_context(request), "title": title, "customer": customer, **more}


def signed_in_customer(request: HttpRequest) -> Customer | None:
    """Return the signed-in customer, if any."""
    if not request.user.is_authenticated:
        return None
    return Customer.objects.filter(user=request.user).first()


def plans_context(customer: Customer | None) -> dict[str, Any]:
    """Return the public plans, and the customer's own."""
    live = live_subscription(customer) if customer else None
    return {
        "plans": [
            {"plan": plan, "delay": _duration_in_words(plan.delay)}
            for plan in Plan.objects.filter(is_public=True)
        ],
        "live": live,
        "payable": stripe_is_configured(),
        "had_one": bool(customer and customer.subscriptions.exists()),
    }


def _duration_in_words(length: timedelta) -> str:
    """Return a length of time in its largest unit that divides it: 15 minutes, 2 days."""
    for name, unit in (("day", 86_400), ("hour", 3600), ("minute", 60)):
        number, rest = divmod(int(length.total_seconds()), unit)
        if number and not rest:
            return f"{number} {name}{'s' if number > 1 else ''}"
    return f"{length.total_seconds():g} seconds" if length else ""


def live_subscription(customer: Customer) -> Subscription | None:
    """Return the customer's live subscription, even if its grace period is over."""
    return customer.subscriptions.filter(state__in=Subscription.LIVE).select_related("plan").first()


def unpaid_subscription(customer: Customer) -> Subscription | None:
    """Return an expired subscription that resumes when its invoice at Stripe is paid."""
    rows = customer.subscriptions.filter(
        state=Subscription.State.EXPIRED, stripe_subscription_id__isnull=False
    )
    return rows.select_related("plan").order_by("-started_at").first()


def account_context(customer: Customer) -> dict[str, Any]:
    """Return the context of the account page."""
    now = timezone.now()
    subscription = live_subscription(customer) or unpaid_subscription(customer)
    entitled = customer.subscription()
    used = usage.today(customer.pk)
    plan = entitled.plan if entitled else None
    price = subscription.prices.last() if subscription and subscription.stripe_subscription_id else None
    return {
        "owner": customer,
        "price": price if price and price.price else None,
        "subscription": subscription,
        "entitled": entitled,
        "today": used,
        "meters": [
            usage_meter("Requests today", used.requests, plan.requests_per_day),
            usage_meter("Signals today", used.signals, plan.signals_per_day),
        ]
        if plan
        else [],
        "usage_charts": customer_usage_charts(customer, now.date()),
        "keys": _keys(customer, now),
        "endpoints": _endpoints(customer),
        "allowed_endpoints": plan.webhooks if plan else 0,
        "payable": stripe_is_configured() and bool(customer.stripe_customer_id),
    }


def usage_meter(name: str, used: int, limit: int | None) -> dict[str, Any]:
    share = 0 if not limit else min(100, round(100 * used / limit))
    return {"name": name, "used": used, "limit": limit, "share": share}


def last_days(today: date) -> dict[date, str]:
    """Return the days of a chart, with their labels."""
    days = (today - timedelta(days=ago) for ago in reversed(range(CHART_DAYS)))
    return {day: f"{day:%b} {day.day}" for day in days}


def customer_usage_charts(customer: Customer, today: date) -> list[dict[str, Any]]:
    """Return charts of the last 30 days' signals and requests, each with its peak day."""
    days = last_days(today)
    rows = {row.day: row for row in UsageDay.objects.filter(customer=customer, day__gte=min(days))}
    charts = []
    for name in ("signals", "requests"):
        counts = [getattr(rows[day], name) if day in rows else 0 for day in days]
        bars = {"label": name, "data": counts, "backgroundColor": "var(--color-primary-600)"}
        data = json.dumps({"labels": list(days.values()), "datasets": [bars]})
        charts.append({"name": name, "peak": max(counts), "data": data})
    return charts


def _keys(customer: Customer, now: datetime) -> list[dict[str, Any]]:
    # Postgres sorts those that are not revoked first.
    rows = customer.reader_keys.select_related("key").order_by("-key__revoked_at", "-key__created_at")
    return [{"key": row.key, "state": _key_state(row.key, now)} for row in rows[:MAX_KEYS_SHOWN]]


def _key_state(key: Any, now: datetime) -> str:
    if key.revoked_at:
        return "revoked"
    return "expired" if key.expires_at and key.expires_at <= now else "active"


def _endpoints(customer: Customer) -> list[dict[str, Any]]:
    attempts = Prefetch("attempts", to_attr="answers")
    return [
        {
            "endpoint": endpoint,
            "latest": list(endpoint.messages.order_by("-id").prefetch_related(attempts)[:MAX_MESSAGES_SHOWN]),
            "waiting": endpoint.messages.filter(state=Message.State.WAITING).count(),
        }
        for endpoint in Endpoint.objects.filter(customer=customer).order_by("id")
    ]
