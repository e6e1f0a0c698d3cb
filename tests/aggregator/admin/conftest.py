"""A signed-in operator, and signals on record."""

from __future__ import annotations

import itertools
import json
from datetime import UTC, datetime

import pytest
from django.test import Client

# Models are imported inside the fixtures: pytest may load this file before Django has its settings.

NUMBERS = itertools.count(1)


@pytest.fixture
def operator(transactional_db):
    from django.contrib.auth.models import User

    return User.objects.create_superuser("olga")


@pytest.fixture
def page(operator):
    """A browser without a face, signed in: `page.get(path)`."""
    client = Client(headers={"host": "localhost"})
    client.force_login(operator)
    return client


@pytest.fixture
def stranger(transactional_db):
    """Somebody who may enter the admin and has been given no rights in it."""
    from django.contrib.auth.models import User

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_user("sam", is_staff=True))
    return client


def signal(**fields):
    """Return the bytes of a valid signal."""
    number = next(NUMBERS)
    given = {
        "signal_id": f"s-{number}",
        "ecosystem": "crypto",
        "timestamp": datetime.now(UTC).isoformat(),
        "symbol": "BTCUSDT",
        "action": "BUY",
        "agent_source": "momentum",
    }
    return json.dumps(given | fields).encode()


@pytest.fixture
def record(transactional_db):
    """Record signals: `record({"symbol": "AAPL"}, …, transport="redis")`; bytes are taken as they are.

    Each call commits, as in earnest: what a batch stages is emptied by the commit.
    """
    from aggregator import ledger
    from aggregator.ledger.entries import Entry

    def do(*given, transport="webhook", sender=""):
        raws = [each if isinstance(each, bytes) else signal(**each) for each in given or [{}]]
        return ledger.record([Entry(raw, sender) for raw in raws], transport)

    return do
