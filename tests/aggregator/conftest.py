"""Fixtures of several tests here; models are imported late: Django is not set up when this file is read."""

from datetime import timedelta

import pytest


@pytest.fixture(autouse=True)
def patient_probes(request, monkeypatch):
    """A probe that takes longer than usual, since the machine has much else to do, has not failed.

    Not where a test takes the database away: that it is away is to be told in the usual time.
    """
    from aggregator.health.checks import Probe

    if "postgres_server" not in request.fixturenames:
        monkeypatch.setattr(Probe, "timeout", timedelta(seconds=10))


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
