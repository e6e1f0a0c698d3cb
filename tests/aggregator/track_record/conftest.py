"""Fixtures for the track record."""

from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def independent() -> ModuleType:
    """The second computation of statistics; imported here, for scipy takes each process of a run a second."""
    from tests.aggregator.track_record import independent

    return independent
