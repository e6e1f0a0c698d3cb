"""Figures and charts of the overview: revenue, subscriptions, usage, deliveries."""

import json
from collections import Counter
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Case, Count, DecimalField, F, OuterRef, Q, Subquery, Sum, When
from django.db.models.functions import TruncDate
from django.utils import timezone

from commerce import currencies
from commerce.models import Attempt, Endpoint, Subscription, SubscriptionPrice, UsageDay
from commerce.pages.context import CHART_DAYS, last_days

CHART_MONTHS = 12
SERIES_COLOURS = ("var(--color-primary-600)", "var(--color-base-400)")
FAILED_COLOUR = "#b91c1c"

Chart = dict[str, Any]

# A twelfth of a yearly price.
MONTHLY_PRICE = Case(
    When(interval="year", then=F("price") / 12),
    default=F("price"),
    output_field=DecimalField(max_digits=14, decimal_places=4),
)


def revenue_overview() -> dict[str, Any]:
    """Return the context of the overview page."""
    now = timezone.now()
    since = now - timedelta(days=CHART_DAYS)
    live = Subscription.objects.entitling(now)
    by_plan = live.values("plan__name").annotate(count=Count("pk")).order_by("plan__rank")
    return {
        "revenue": monthly_revenue(now),
        "by_plan": [(row["plan__name"], row["count"]) for row in by_plan],
        "started": Subscription.objects.filter(started_at__gte=since).count(),
        "cancelled": Subscription.objects.filter(cancelled_at__gte=since).count(),
        "past_due": Subscription.objects.filter(state=Subscription.State.PAST_DUE).count(),
        "failing": Endpoint.objects.filter(state=Endpoint.State.ACTIVE, failing_since__isnull=False).count(),
        "disabled": Endpoint.objects.filter(state=Endpoint.State.DISABLED).count(),
        "charts": [*revenue_charts(now), *total_usage_charts(now.date()), deliveries_chart(now.date())],
    }


def monthly_revenue(at: datetime) -> dict[str, Decimal]:
    """Return the monthly recurring revenue at a moment by currency, by the prices that were agreed then.

    Trials and free plans have none; a past due subscription counts until its grace period is over.
    """
    valid = SubscriptionPrice.objects.filter(subscription=OuterRef("subscription"), since__lte=at)
    unended = Q(subscription__ends_at=None) | Q(subscription__ends_at__gt=at)
    rows = SubscriptionPrice.objects.filter(
        unended, price__gt=0, pk=Subquery(valid.order_by("-since", "-pk").values("pk")[:1])
    )
    sums = rows.values("currency").annotate(sum=Sum(MONTHLY_PRICE)).order_by("currency")
    return {row["currency"]: round(row["sum"], currencies.decimals(row["currency"])) for row in sums}


def revenue_charts(now: datetime) -> list[Chart]:
    """Return a chart of the last twelve months for each currency."""
    ends = _month_ends(now)
    months = [monthly_revenue(at) for at in ends]
    labels = [f"{at:%b %Y}" for at in ends]
    return [
        _chart(
            f"Monthly recurring revenue, {currency}",
            labels,
            {currency: [float(month.get(currency, 0)) for month in months]},
            unit="now",
        )
        for currency in sorted(set().union(*months))
    ]


def total_usage_charts(today: date) -> list[Chart]:
    """Return a chart of all customers' signals and one of their requests, since their scales differ."""
    days = last_days(today)
    rows = UsageDay.objects.filter(day__gte=min(days)).values("day")
    sums = rows.annotate(read=Sum("signals"), sent=Sum("requests"))
    signals = {row["day"]: row["read"] for row in sums}
    requests = {row["day"]: row["sent"] for row in sums}
    return [
        _chart(title, list(days.values()), {name: [column.get(day, 0) for day in days]})
        for title, name, column in (
            ("Signals read by all customers", "signals", signals),
            ("Requests of all customers", "requests", requests),
        )
    ]


def deliveries_chart(today: date) -> Chart:
    days = last_days(today)
    since = datetime.combine(min(days), time(), UTC)
    succeeded = Q(status__gte=200, status__lt=300)
    rows = (
        Attempt.objects.filter(at__gte=since)
        .annotate(day=TruncDate("at", tzinfo=UTC))
        .values("day")
        .annotate(delivered=Count("pk", filter=succeeded), failed=Count("pk", filter=~succeeded))
    )
    counts = {name: Counter({row["day"]: row[name] for row in rows}) for name in ("delivered", "failed")}
    series = {name: [found[day] for day in days] for name, found in counts.items()}
    return _chart("Delivery attempts", list(days.values()), series)


def _chart(title: str, labels: list[str], series: dict[str, list[Any]], unit: str = "today") -> Chart:
    """Return a chart's data, and the figures of its last column for the legend."""
    colours = dict(zip(series, SERIES_COLOURS, strict=False)) | {"failed": FAILED_COLOUR}
    sets = [
        {"label": name, "data": values, "backgroundColor": colours[name]} for name, values in series.items()
    ]
    return {
        "title": title,
        "unit": unit,
        "data": json.dumps({"labels": labels, "datasets": sets}),
        "legend": [(name, colours[name], values[-1]) for name, values in series.items()],
    }


def _month_ends(now: datetime) -> list[datetime]:
    """Return the ends of the last eleven months, and now."""
    ends, first = [now], now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    while len(ends) < CHART_MONTHS:
        ends.append(first - timedelta(microseconds=1))
        first = ends[-1].replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return ends[::-1]
