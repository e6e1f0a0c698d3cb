"""Fixtures for all tests: real servers, started before Django reads its settings."""

from __future__ import annotations

import dataclasses
import functools
import gc
import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import django
import hypothesis
import pytest
import redis
from django.conf import settings
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connections

from config.local import Postgres, ServerError
from tests.resolving import connecting
from tests.servers import PROJECT, SERVERS, Program, manage, renamed, serve, web
from tests.servers import free_port as find_free_port

WAITING = (
    "aggregator/test_worker.py",
    "commerce/streaming/test_stream_many.py",
    "browser/test_dashboard.py",
    "commerce/streaming/test_stream.py",
    "aggregator/test_refusing_servers.py",
    "aggregator/ingest/test_lone_requests.py",
    "aggregator/ingest/test_celery.py",
    "aggregator/test_sentinel.py",
    "aggregator/ingest/test_hooks_socket.py",
    "aggregator/health/test_checks.py",
    "aggregator/ledger/test_crash.py",
    "aggregator/ingest/test_slow_bodies.py",
    "aggregator/ledger/test_contention.py",
    "aggregator/transparency/test_rescoring.py",
    "aggregator/health/test_healthcheck.py",
    "aggregator/alerts/test_database_outage.py",
)
"""Files that wait half of their time, for time-outs and restarts; some ten seconds and more on the clock."""
LONGEST = (
    "browser/test_accessibility.py",
    "config/test_make_run.py",
    "commerce/api/test_schemathesis.py",
    "ecosystems/agent/test_run_agent.py",
    "commerce/feed/test_never_skips.py",
    "ecosystems/bus/test_topologies.py",
    "browser/test_customer.py",
    "commerce/webhooks/test_dispatcher.py",
    "config/test_local_servers.py",
    "aggregator/ingest/test_hostile_entries.py",
    "test_deployment_guide.py",
    "clients/test_typescript.py",
    "commerce/api/test_webhooks.py",
    "config/test_environment.py",
    "browser/test_work.py",
    "ecosystems/strategies/test_strategies.py",
    "aggregator/test_full_disk.py",
    "aggregator/ledger/test_schema.py",
)
"""Further files of some ten seconds and more."""

# pytest-django's own option would read the settings before any conftest is loaded, without servers.
if settings.configured:
    pytest.exit("unset DJANGO_SETTINGS_MODULE: the tests choose their settings themselves", returncode=4)


def pytest_configure(config: pytest.Config) -> None:
    """Start the servers, then let Django read its settings; stop them however the run ends.

    Where pytest-xdist shares the tests out, each of its workers has servers of its own.
    """
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return
    config.add_cleanup(SERVERS.stop)
    try:
        SERVERS.start(os.environ)
    except ServerError as error:
        pytest.exit(f"no servers for the tests: {error}", returncode=1)
    django.setup()
    # By design one password takes a third of a second. The hub's programs verify these hashes all the same.
    PBKDF2PasswordHasher.iterations = 1000
    # The same examples in each run, however slow the machine: chance decides nothing about a change.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile(
        "steady", derandomize=True, deadline=None, suppress_health_check=slow
    )
    hypothesis.settings.load_profile("steady")
    from aggregator.postgres import pool
    from tests.empty_tables import empty_after_each_test

    pool.limit_connections = lambda *_: None  # this process hosts several programs, and the tests
    empty_after_each_test()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give the files of `WAITING` to one worker, while the others keep the processors busy; else by file."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return "waiting" if file.removeprefix("tests/") in WAITING else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first: one that is begun last keeps a single worker busy at the end.

    Refuse tests that share an id, of which pytest-xdist would run one.
    """
    ids = Counter(item.nodeid for item in items)
    assert ids.total() == len(ids), f"tests have the same id: {ids.most_common(1)}"
    ranks = {PROJECT / "tests" / name: rank for rank, name in enumerate(WAITING + LONGEST)}
    assert all(file.exists() for file in ranks), "WAITING or LONGEST names a file that is no more"
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_collection_finish() -> None:
    """Spare the garbage collector what stays to the end: tests that collect would take 0.2 s more each."""
    gc.freeze()


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 on which no program listens."""
    return find_free_port()


@pytest.fixture
def connects() -> Iterator[list[tuple]]:
    """The addresses of every socket that this process connects during the test."""
    with connecting() as addresses:
        yield addresses


@pytest.fixture
def redis_client() -> Iterator[redis.Redis]:
    """A client of the test's Redis, emptied before the test. Answers are bytes."""
    with redis.Redis.from_url(os.environ["CORE_REDIS_URL"]) as client:
        client.flushdb()
        yield client


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """Whether to leave the databases: with a server of our own they end anyway."""
    return SERVERS.postgres is not None


@pytest.fixture
def admin_user(db: None, django_user_model: Any) -> Any:
    """As pytest-django's, without the password, which no test enters."""
    return django_user_model.objects.create_superuser("admin")


@pytest.fixture
def postgres_server(transactional_db: None) -> Iterator[Postgres]:
    """The embedded Postgres, to `stop()` and `start()`; runs again after the test, on the same port."""
    server = SERVERS.postgres
    if server is None:
        pytest.skip("the Postgres of CORE_TEST_DB_URL is not ours to stop")
    yield server
    server.start()
    connections.close_all()


@pytest.fixture
def program_environment(transactional_db: None) -> dict[str, str]:
    """Environment for real subprocesses of the hub: they use the databases that this test sees."""
    return environment_of_programs()


def environment_of_programs() -> dict[str, str]:
    """Return the environment in which programs use the tests' databases, once those were made."""
    environment = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}  # a test waits for what a program says
    del environment["DJANGO_SETTINGS_MODULE"]  # each program chooses its own
    environment.pop("DJANGO_ALLOW_ASYNC_UNSAFE", None)  # browser tests set it for themselves
    for alias, variable in {"default": "CORE_DB_URL", "forex": "CORE_FOREX_DB_URL"}.items():
        name = connections[alias].settings_dict["NAME"]
        environment[variable] = renamed(environment[variable], name)
    return environment


@contextmanager
def starting(environment: dict[str, str], folder: Path) -> Iterator[Callable[..., Program]]:
    """Give what starts programs in that environment; what is left of them is killed afterwards."""
    started: list[Program] = []
    numbers = itertools.count(1)

    def start(command: list[str], **variables: str) -> Program:
        output = folder / f"program-{next(numbers)}.log"
        program = Program(command, environment | variables, output)
        started.append(program)
        return program

    yield start
    for program in started:
        program.kill()


@pytest.fixture
def run_program(program_environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs: `run_program([...command], CORE_X="…")`; what is left of them is killed afterwards."""
    with starting(program_environment, tmp_path) as start:
        yield start


@pytest.fixture(scope="module")
def run_shared(
    django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Program]]:
    """As `run_program`, for what all tests of a file use: a start takes two seconds of processor time."""
    with starting(environment_of_programs(), tmp_path_factory.mktemp("shared")) as start:
        yield start


@pytest.fixture
def run_manage(run_program: Callable[..., Program]) -> Callable[..., Program]:
    """Start `manage.py` for real: `run_manage("consume_streams", "--once", CORE_X="…")`."""

    def start(*arguments: str, **variables: str) -> Program:
        return run_program(manage(*arguments), **variables)

    return start


@pytest.fixture
def live_hub(run_program: Callable[..., Program], free_port: int) -> Callable[..., str]:
    """Start the real web server: `live_hub(CORE_X="…")` returns its URL when `/livez` answers."""

    def start(**variables: str) -> str:
        return serve(run_program, web, free_port, **variables)

    return start


@pytest.fixture(scope="module")
def shared_hub(run_shared: Callable[..., Program]) -> Callable[..., str]:
    """As `live_hub`, for tests that leave it as it was: one for all of a file that want the same."""

    @functools.cache
    def start(**variables: str) -> str:
        return serve(run_shared, web, find_free_port(), **variables)

    return start


@pytest.fixture
def log_dir(settings: Any, tmp_path: Path) -> Path:
    """CORE_LOG_DIR of this test's hub, whose host is hub.example.com."""
    settings.ENVIRONMENT = dataclasses.replace(settings.ENVIRONMENT, log_dir=tmp_path / "log")
    settings.PUBLIC_HOST = "hub.example.com"
    return tmp_path / "log"


@pytest.fixture
def log(transactional_db: None, log_dir: Path) -> str:
    """A log that has begun; its verifier key."""
    from aggregator.transparency import log_setup
    from aggregator.transparency.log_directory import log_directory

    [key] = log_setup.begin(log_directory(), "hub.example.com")
    return key


@pytest.fixture
def seal() -> Callable[[], Any]:
    """Do what a worker does until nothing is left, and return the log's head."""
    from aggregator.transparency import log_tables
    from aggregator.transparency.sealer import Sealer

    def do() -> Any:
        sealer = Sealer()
        while sealer.run_once():
            pass
        return log_tables.head()

    return do
