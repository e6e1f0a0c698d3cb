"""Every Redis and Valkey that this machine has, each started once for all tests that want it."""

import pytest
import redis

from config.local import Redis
from config.local.redis import OLDEST, installed_programs
from tests.temporary_home import temporary_home

PROGRAMS = {each.title: each.path for each in installed_programs() if each.version >= OLDEST}


@pytest.fixture(scope="module", params=PROGRAMS)
def any_server(request):
    with temporary_home() as home, Redis(home, durable=False, program=PROGRAMS[request.param]) as server:
        yield server


@pytest.fixture
def any_redis(any_server):
    """A client of each, emptied before the test. Answers are bytes."""
    with redis.Redis.from_url(any_server.url) as client:
        client.flushall()
        yield client
