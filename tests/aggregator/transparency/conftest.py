"""Fixtures of the transparency log's tests."""

import csv
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def csv_limit() -> Iterator[None]:
    """The verifier limits a CSV field for its whole process, which here has others to test."""
    limit = csv.field_size_limit()
    yield
    csv.field_size_limit(limit)
