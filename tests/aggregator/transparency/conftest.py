"""Fixtures of the transparency log's tests."""

import csv
import dataclasses
from collections.abc import Iterator

import pytest

from tests.aggregator.transparency.authority import Authority


@pytest.fixture(autouse=True)
def csv_limit() -> Iterator[None]:
    """The verifier limits a CSV field for its whole process, which here has others to test."""
    limit = csv.field_size_limit()
    yield
    csv.field_size_limit(limit)


@pytest.fixture
def authority(settings, tmp_path_factory, log_dir):
    made = Authority(tmp_path_factory.mktemp("tsa"))
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, log_tsa_urls=(made.url,))
    yield made
    made.server.shutdown()
    made.server.server_close()
