"""Fixtures of several tests here; models are imported late: Django is not set up when this file is read."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import pytest


@pytest.fixture(autouse=True)
def patient_probes(request, monkeypatch):
    """A probe that takes longer than usual, since the machine has much else to do, has not failed.

    Not where a test takes the database away: that it is away is to be told in the usual time.
    """
    from aggregator.health.checks import Check

    if "postgres_server" not in request.fixturenames:
        monkeypatch.setattr(Check, "timeout", timedelta(seconds=10))


@pytest.fixture
def receiver(monkeypatch):
    """A chat service, whose answers a turn waits for however long they take."""
    import apprise  # noqa: F401 - takes seconds on a busy machine, which should count for no turn

    from aggregator.alerts import delivery
    from tests.aggregator.alerts.chat_service import Receiver

    monkeypatch.setattr(delivery, "WITHIN_S", 60.0)
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def channel(receiver):
    from tests.aggregator.alerts.chat_service import open_channel

    return open_channel(receiver)


NUMBERS = itertools.count(1)


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
def count_arrivals():
    """Do what the worker's follower does: count in the rollups all that is recorded."""
    from aggregator.arrivals.rollups import RollupFollower

    return RollupFollower().catch_up


@pytest.fixture
def record(transactional_db, count_arrivals):
    """Record and count signals: `record({"symbol": "AAPL"}, …, transport="redis")`; bytes are sent as given.

    Each call commits, as in earnest: what a batch stages is emptied by the commit.
    """
    from aggregator import ledger
    from aggregator.ledger.entries import Entry

    def do(*given, transport="webhook", sender=""):
        raws = [each if isinstance(each, bytes) else signal(**each) for each in given or [{}]]
        results = ledger.record([Entry(raw, sender) for raw in raws], transport)
        count_arrivals()
        return results

    return do
