"""The plans of a new hub."""

import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import transaction

from commerce.models import Plan

DEFAULT_PLANS: dict[str, dict[str, Any]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(), parse_float=Decimal
)


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
