"""Fixtures of the alerts' tests."""

import pytest


@pytest.fixture
def receiver():
    from tests.aggregator.chat import Receiver  # models: Django is not set up yet when this file is read

    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def channel(receiver):
    from tests.aggregator.chat import open_channel

    return open_channel(receiver)
