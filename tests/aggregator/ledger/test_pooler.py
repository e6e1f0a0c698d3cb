"""The hub behind a transaction pooler: fewer server connections than clients, and no sessions to rely on."""

import os
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import psycopg
import pytest
import requests

from tests.aggregator.ingest.senders import as_bytes, standard, wire
from tests.servers import eventually, renamed

PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PGBOUNCER is None, reason="there is no pgbouncer"),
]
CONFIG = """
[databases]
* = host={host} port={port} user={user} password={password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def database(program_environment):
    """The direct URL of a database with nothing in it."""
    with psycopg.connect(program_environment["CORE_DB_URL"], autocommit=True) as server:
        server.execute("DROP DATABASE IF EXISTS pooler_test")
        server.execute("CREATE DATABASE pooler_test")
        yield renamed(program_environment["CORE_DB_URL"], "pooler_test")
        server.execute("DROP DATABASE pooler_test WITH (FORCE)")


@pytest.fixture
def pooled(database, run_program, tmp_path):
    """The URL of the same database through the pooler."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        listen = free.getsockname()[1]
    url = urlsplit(database)
    config = CONFIG.format(
        host=url.hostname,
        port=url.port or 5432,
        user=url.username,
        password=url.password or "''",
        listen=listen,
    )
    (tmp_path / "pgbouncer.ini").write_text(config)
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    run_program([PGBOUNCER, *user, str(tmp_path / "pgbouncer.ini")])
    through = f"postgres://{url.username}@127.0.0.1:{listen}/pooler_test"

    def answers():
        try:
            return psycopg.connect(through).close() or True
        except psycopg.OperationalError:
            return False

    eventually(answers, what="pgbouncer")
    return through


def test_the_hub_works_through_a_transaction_pooler(database, pooled, run_manage, live_hub):
    migrate = run_manage("migrate", CORE_DB_URL=pooled)
    assert migrate.wait() == 0, migrate.text
    url = live_hub(CORE_DB_URL=pooled)

    def send(number):
        body = as_bytes([wire(f"s-{number % 10}-{part}") for part in range(5)])
        headers = {"Content-Type": "application/json"} | standard(body)
        return requests.post(f"{url}/api/signals", data=body, headers=headers, timeout=60).json()

    def insert(number):
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as agent:
            row = list(wire(f"inserted-{number}").values())
            agent.execute(
                "INSERT INTO trading_signals (signal_id, ecosystem, timestamp, symbol, action) "
                "VALUES (%s, %s, %s, %s, %s)",
                row,
            )

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(40)))
        list(threads.map(insert, range(20)))
    consumed = run_manage("consume_databases", "--once", CORE_DB_URL=pooled, CORE_FOREX_DB_URL="")
    assert consumed.wait() == 0, consumed.text
    assert sum(answer["accepted"] for answer in answers) == 50
    assert sum(answer["duplicates"] for answer in answers) == 150
    with psycopg.connect(database) as direct:
        counted = direct.execute(
            "SELECT count(*), count(DISTINCT position), (SELECT sum(times) FROM sightings) "
            "FROM trading_signals"
        )
        assert counted.fetchone() == (70, 70, 150)
        peers = direct.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = 'pooler_test' AND pid <> pg_backend_pid()"
        )
        assert peers.fetchone()[0] <= 3
