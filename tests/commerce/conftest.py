"""Fixtures of several tests of commerce; what needs Django is imported late, after its settings are there."""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from tests.commerce.billing.local_stripe import API_KEY, WEBHOOK_SECRET, LocalStripe, local_stripe
from tests.commerce.webhooks.receiver import Receiver, receiver


@pytest.fixture
def receivers_here(settings: Any) -> Iterator[None]:
    """Endpoints may be on this machine, over plain HTTP."""
    from tests.commerce.webhooks.pushing import local

    local(settings)
    yield
    gc.collect()  # the connections of threads that ended lie in reference cycles


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    """A customer's receiver."""
    with receiver() as server:
        yield server


@pytest.fixture
def local(settings: Any) -> Iterator[LocalStripe]:
    """A server that answers as Stripe does, and a hub that takes it for Stripe."""
    with local_stripe() as server:
        settings.ENVIRONMENT = dataclasses.replace(
            settings.ENVIRONMENT,
            stripe_api_key=API_KEY,
            stripe_webhook_secret=WEBHOOK_SECRET,
            stripe_api_base=server.base,
        )
        yield server


@pytest.fixture
def plan() -> Any:
    from commerce.models import Plan

    return Plan.objects.create(slug="pro", name="Pro", price=Decimal("29.99"), stripe_price_id="price_pro")


@pytest.fixture
def buyer() -> Any:
    from commerce.models import Customer

    return Customer.objects.create(email="buyer@example.com")
