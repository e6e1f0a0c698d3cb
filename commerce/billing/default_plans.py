"""The plans of a new hub."""

from decimal import Decimal
from typing import Any

from django.db import transaction

from commerce.models import Plan

DEFAULT_PLANS: dict[str, dict[str, Any]] = {
    "free": {
        "name": "Free",
        "price": Decimal("0.00"),
        "requests_per_day": 100,
        "signals_per_day": 10,
        "history_days": 7,
        "description": "Try the feed.",
    },
    "basic": {
        "name": "Basic",
        "price": Decimal("9.99"),
        "requests_per_day": 1_000,
        "signals_per_day": 100,
        "history_days": 30,
        "streams": 1,
        "webhooks": 1,
        "description": "Follow a few instruments.",
    },
    "pro": {
        "name": "Pro",
        "price": Decimal("29.99"),
        "requests_per_day": 10_000,
        "signals_per_day": 1_000,
        "history_days": 90,
        "streams": 3,
        "webhooks": 5,
        "description": "Follow the markets.",
    },
    "enterprise": {
        "name": "Enterprise",
        "price": Decimal("99.99"),
        "requests_per_day": None,
        "signals_per_day": None,
        "history_days": 365,
        "streams": 20,
        "webhooks": 50,
        "description": "All signals, without daily limits.",
    },
}


@transaction.atomic
def create_default_plans(*, simulated: bool = False) -> list[Plan]:
    """Create the default plans that do not exist and return them. The operator's changes stay.

    Those of a demo hub include simulated signals, for it has no others.
    """
    created_plans = []
    for rank, (slug, values) in enumerate(DEFAULT_PLANS.items(), start=1):
        plan, created = Plan.objects.get_or_create(
            slug=slug, defaults={**values, "rank": rank * 10, "simulated": simulated}
        )
        if created:
            created_plans.append(plan)
    return created_plans
