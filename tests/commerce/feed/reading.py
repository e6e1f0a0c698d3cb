"""What the tests of reading share: customers with keys, signals in the ledger, and a client of the API."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import F
from django.test import Client

from aggregator import ledger
from aggregator.http.api_keys import IssuedKey
from aggregator.ledger.entries import Entry
from aggregator.models import TradingSignal
from commerce.models import Customer, Plan, Subscription

_numbers = itertools.count(1)


def customer(**plan: Any) -> Customer:
    """A customer with a live subscription to a plan of their own, without limits unless given."""
    number = next(_numbers)
    bought = Plan.objects.create(slug=f"plan-{number}", name="Plan", **{"streams": 5} | plan)
    someone = Customer.objects.create(email=f"reader{number}@example.com")
    Subscription.objects.create(customer=someone, plan=bought)
    return someone


def grant(**plan: Any) -> IssuedKey:
    """A new customer's key."""
    return customer(**plan).issue_key("laptop")


class Reader:
    """A client of the API with a key."""

    def __init__(self, value: str) -> None:
        self.value = value
        self._client = Client(headers={"Authorization": f"Bearer {value}"})

    def get(self, path: str, headers: dict[str, str] | None = None, **query: Any) -> Any:
        return self._client.get(f"/api/v1/{path}", query, headers=headers or {})

    def page(self, **query: Any) -> dict[str, Any]:
        """A page of the feed; fails unless it is one."""
        response = self.get("signals", **query)
        assert response.status_code == 200, response.content
        return response.json()

    def ids(self, **query: Any) -> list[str]:
        """The ids of all signals of the feed, followed to its end."""
        found: list[str] = []
        while True:
            page = self.page(**query)
            found += [signal["signal_id"] for signal in page["signals"]]
            query["after"] = page["next"]
            if not page["has_more"]:
                return found


def reader(**plan: Any) -> Reader:
    """A new customer who reads with a plan of their own."""
    return Reader(grant(**plan).value)


def raw(signal_id: str, **fields: Any) -> bytes:
    signal = {
        "signal_id": signal_id,
        "ecosystem": "crypto",
        "timestamp": datetime.now(UTC).isoformat(),
        "symbol": "BTCUSDT",
        "action": "BUY",
        "agent_source": "bot-1",
    }
    return json.dumps(signal | fields).encode()


def record(*signal_ids: str, **fields: Any) -> None:
    """Put signals on the ledger."""
    results = ledger.record([Entry(raw(signal_id, **fields)) for signal_id in signal_ids], "redis")
    assert all(result.fate == "accepted" for result in results), results


def pass_time(passed: timedelta) -> None:
    """Let so much time pass since everything that is on the ledger was recorded."""
    TradingSignal.objects.filter(position__isnull=False).update(recorded_at=F("recorded_at") - passed)


def queries() -> int:
    """How many transactions this database has seen, from all sessions, as its statistics know."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_stat_clear_snapshot(), xact_commit FROM pg_stat_database "
            "WHERE datname = current_database()"
        )
        return int(cursor.fetchone()[1])
