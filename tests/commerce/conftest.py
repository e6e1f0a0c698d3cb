"""Fixtures of the tests of pushing; what needs Django is imported late, after its settings are there."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.commerce.receiver import Receiver, receiver
from tests.commerce.resolving import connecting


@pytest.fixture
def receivers_here(settings: Any) -> Iterator[None]:
    """Endpoints may be on this machine, over plain HTTP."""
    from tests.commerce.pushing import local

    local(settings)
    yield
    gc.collect()  # the connections of threads that ended lie in reference cycles


@pytest.fixture
def inbox() -> Iterator[Receiver]:
    """A customer's receiver."""
    with receiver() as server:
        yield server


@pytest.fixture
def connects() -> Iterator[list[tuple]]:
    """The addresses of every socket that this process connects during the test."""
    with connecting() as addresses:
        yield addresses
