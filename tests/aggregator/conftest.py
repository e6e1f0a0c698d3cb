"""Fixtures of several tests here; models are imported late: Django is not set up when this file is read."""

import itertools
import json
from datetime import UTC, datetime

import pytest


@pytest.fixture(autouse=True)
def longer_check_timeout(request, monkeypatch):
    """Give checks more time than usual, since a test machine is busy.

    Not where a test takes the database away, which must be noticed in the usual time.
    """
    from aggregator.health.checks import Check

    if "postgres_server" not in request.fixturenames:
        monkeypatch.setattr(Check, "timeout_s", 11.0)


@pytest.fixture
def unhurried_hooks(monkeypatch):
    """Have hooks wait longer than a producer does, since a test machine is busy; and know no source still."""
    from aggregator.ingest.hooks import Hook
    from aggregator.sources import tokens

    monkeypatch.setattr(tokens, "FRESH_S", 0.0)
    monkeypatch.setattr(Hook, "timeout_s", 60.0)


@pytest.fixture
def receiver(monkeypatch):
    """A chat service, whose answers the sender waits for however long they take."""
    import apprise  # noqa: F401 - takes seconds on a busy machine, which should count for no test

    from aggregator.alerts import delivery
    from tests.aggregator.alerts.chat_service import Receiver

    monkeypatch.setattr(delivery, "SEND_TIMEOUT_S", 60.0)
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

    Each call commits, as in production: what a batch stages is emptied by the commit.
    """
    from aggregator import ledger
    from aggregator.ledger.entries import Entry

    def do(*given, transport="webhook", sender=""):
        raws = [each if isinstance(each, bytes) else signal(**each) for each in given or [{}]]
        results = ledger.record([Entry(raw, sender) for raw in raws], transport)
        count_arrivals()
        return results

    return do
