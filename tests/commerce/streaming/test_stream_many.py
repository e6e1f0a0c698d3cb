"""500 streams on one process, and what they cost the database."""

import resource
import time
from contextlib import ExitStack

import pytest

from tests.commerce.feed.reading import grant, queries, record
from tests.commerce.streaming.stream_client import EventSource, eventually, stream_process

__all__ = ["stream_process"]
pytestmark = pytest.mark.django_db(transaction=True)

MANY = 500
WATCHED_S = 6.0
REPORTED_S = 10.5
"""A session that falls idle may report its last transactions ten seconds later (PGSTAT_IDLE_INTERVAL)."""


@pytest.fixture(autouse=True)
def files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def transactions_while_idle():
    """Transactions that were reported in WATCHED_S."""
    before = queries()
    pass_by(WATCHED_S)
    return queries() - before


def pass_by(seconds):
    until = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until, seconds=seconds + 1)


def test_idle_streams_cost_the_database_the_same_however_many_they_are(stream_process):
    url, _ = stream_process()
    given = grant(streams=MANY + 10)
    with ExitStack() as stack:

        def opened():
            source = EventSource(url, given.value)
            stack.callback(source.close)
            source.wait_for_id()
            return source

        few = [opened() for _ in range(5)]
        pass_by(REPORTED_S)
        of_few = transactions_while_idle()
        assert of_few > 10, "the statistics count nothing"
        many = [*few, *(opened() for _ in range(MANY - 5))]
        pass_by(REPORTED_S)
        of_many = transactions_while_idle()
        print(f"transactions in {WATCHED_S:.0f} s: {of_few} with 5 streams, {of_many} with {MANY}")  # noqa: T201
        assert of_many < 2 * of_few + 10
        record("to-all")
        assert {source.take(1)[0].data["signal_id"] for source in many} == {"to-all"}
