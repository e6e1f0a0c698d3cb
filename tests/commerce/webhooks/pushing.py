"""The cast of the tests of messages: a customer with a plan, endpoints, and signals of the ledger."""

from __future__ import annotations

import dataclasses
import gc
import ipaddress
import itertools
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone

from aggregator import ledger
from aggregator.ledger.entries import Entry
from aggregator.worker import Worker
from commerce import entitlements
from commerce.models import Customer, Endpoint, Message, Plan, Subscription
from commerce.webhooks import endpoints
from commerce.webhooks.dispatcher import Dispatcher
from tests.commerce.webhooks.receiver import Answering, Received, Receiver

LOOPBACK = ipaddress.ip_network("127.0.0.0/8")
_numbers = itertools.count(1)


def customer(email: str = "", **plan: object) -> Customer:
    """A customer with a live subscription to a plan of their own."""
    number = next(_numbers)
    limits = {
        "webhooks": 10,
        "streams": 1,
        "price": Decimal("9.99"),
        "slug": f"plan-{number}",
        "name": "Plan",
    }
    bought = Plan.objects.create(**{**limits, **plan})
    person = Customer.objects.create(
        email=email or f"customer{number}@example.com", name=f"Customer {number}"
    )
    Subscription.objects.create(customer=person, plan=bought)
    return person


def endpoint(owner: Customer, url: str, *, after: int | None = 0, **options) -> tuple[Endpoint, str | None]:
    """An endpoint of theirs, following the ledger from its start, and its secret."""
    live = Subscription.objects.entitling(timezone.now()).get(customer=owner)
    channel = options.pop("channel", "webhook")
    return endpoints.create(entitlements.entitlement(live), channel, url, after=after, **options)


def record(*signal_ids: str, **fields: object) -> None:
    """Put signals on the ledger."""
    entries = [
        Entry(json.dumps(signal(signal_id, **fields)).encode(), sender="test") for signal_id in signal_ids
    ]
    results = ledger.record(entries, "webhook")
    assert all(result.fate == "accepted" for result in results), results


def signal(signal_id: str, **fields: object) -> dict[str, object]:
    return {
        "signal_id": signal_id,
        "ecosystem": "crypto",
        "timestamp": datetime.now(UTC).isoformat(),
        "symbol": "BTCUSDT",
        "action": "BUY",
        "entry_price": "64000.5",
        "agent_source": "tests",
        **fields,
    }


def deliver(**threads: int) -> int:
    """Send all that is due now; return the number of attempts."""
    webhooks = {"webhooks": lambda: Dispatcher(**threads)}
    made = Worker(webhooks, threading.Event(), once=True).run()["webhooks"]
    gc.collect()  # the connections of ended threads lie in reference cycles and would keep the database busy
    return made


def ids(inbox: Receiver) -> list[str]:
    """The signal ids that arrived, in order."""
    return [json.loads(request.body)["data"]["signal_id"] for request in inbox.received]


def message_ids(inbox: Receiver) -> list[str]:
    return [request.headers["webhook-id"] for request in inbox.received]


def answering(status: int, **options: Any) -> Callable[[Received], Answering]:
    """What a receiver that always answers like that is given as its `answer`."""
    return lambda _request: Answering(status, **options)


def hurry(by: timedelta = timedelta(days=2)) -> None:
    """Let time pass for what waits."""
    for row in Message.objects.filter(state="waiting"):
        Message.objects.filter(pk=row.pk).update(due_at=row.due_at - by)
    for row in Endpoint.objects.all():
        earlier = {"wake_at": row.wake_at and row.wake_at - by, "plan_at": row.plan_at - by}
        Endpoint.objects.filter(pk=row.pk).update(**earlier)


def local(settings_fixture, networks=(LOOPBACK,), **changes: object) -> None:
    """Let endpoints be on this machine, over plain HTTP."""
    settings_fixture.DEBUG = True
    settings_fixture.ENVIRONMENT = dataclasses.replace(
        settings.ENVIRONMENT, delivery_networks=tuple(networks), **changes
    )
