"""Servers that answer, but refuse to write, are outages like any other: for `run_worker` and for Celery."""

import shutil
import socket
import socketserver
import threading
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import redis
from django.db import connections
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError, RedisError
from redis.retry import Retry

from aggregator.health.database_checks import DatabaseCheck
from aggregator.models import DeadLetter
from config.local import Redis
from tests.aggregator.ledger.samples import raw
from tests.aggregator.test_worker import HOSTS, LOCAL, STREAM, recorded
from tests.servers import eventually
from tests.temporary_home import temporary_home

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "forex"])


@contextmanager
def configured(client, **settings):
    """Change settings of a Redis for a while."""
    wanted = {name.replace("_", "-"): value for name, value in settings.items()}
    before = {name: client.config_get(name)[name] for name in wanted}
    try:
        for name, value in wanted.items():
            client.config_set(name, value)
        yield
    finally:
        for name, value in before.items():
            client.config_set(name, value)


@contextmanager
def replica(client, **settings):
    """Make a Redis the replica of a master that is gone, as the old master is after a failover."""
    with configured(client, **settings):
        try:
            client.replicaof("127.0.0.1", "1")
            yield
        finally:
            client.replicaof("NO", "ONE")


@contextmanager
def unsaved(client):
    """Let a Redis fail to save its data."""
    file = Path(client.config_get("dir")["dir"]) / client.config_get("dbfilename")["dbfilename"]
    with configured(client, save="3600 1"):
        (file / "in the way").mkdir(parents=True)
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err")
        yield
        shutil.rmtree(file)
        client.bgsave()
        eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "ok")
        file.unlink()


REDIS_REFUSALS = {
    "READONLY": replica,
    "MASTERDOWN": lambda client: replica(client, replica_serve_stale_data="no"),
    "NOREPLICAS": lambda client: configured(client, min_replicas_to_write="1"),
    "MISCONF": unsaved,
}


@HOSTS
def test_a_redis_that_refuses_to_write_is_an_outage(command, run_program, redis_client):
    worker = run_program(command, **LOCAL)
    redis_client.xadd(STREAM, {"payload": raw("first")})
    worker.until(lambda: "first" in recorded())
    for number, (code, refusing) in enumerate(REDIS_REFUSALS.items(), 1):
        with refusing(redis_client):
            with pytest.raises(RedisError):
                redis_client.xadd(STREAM, {"payload": b"refused"})
            worker.until(lambda number=number: worker.text.count("loop=streams outage") == number, what=code)
        redis_client.xadd(STREAM, {"payload": raw(code)})
        worker.until(lambda code=code: code in recorded(), what=code)
        worker.until(lambda number=number: worker.text.count("loop=streams goes on") == number, what=code)
    with configured(redis_client, maxmemory="1"), pytest.raises(RedisError):
        redis_client.xadd(STREAM, {"payload": b"refused"})
    assert worker.stop() == 0
    assert "Unrecoverable" not in worker.text
    assert worker.text.count("Trying to reconnect") < 40, "it waits longer each time"
    assert not DeadLetter.objects.exists()


@HOSTS
def test_a_redis_that_loads_its_data_is_an_outage(command, run_program):
    slowly = {"key_load_delay": "10000", "loading_process_events_interval_bytes": "1024"}
    with temporary_home() as home, Redis(home, durable=False, **slowly) as server:
        client = redis.Redis.from_url(server.url, retry=Retry(NoBackoff(), 0))
        worker = run_program(command, **LOCAL, CORE_REDIS_URL=server.url)
        client.xadd(STREAM, {"payload": raw("first")})
        worker.until(lambda: recorded() == {"first"})
        client.mset({f"key-{number}": "x" * 1024 for number in range(300)})
        client.config_set("save", "3600 1")  # at its end, too
        server.stop()
        worker.until(lambda: "loop=streams outage" in worker.text)
        errors = set()

        def send():
            while True:
                try:
                    return client.xadd(STREAM, {"payload": raw("second")})
                except RedisError as error:
                    errors.add(type(error))

        # As a daemon, it does not outlive a server that does not start.
        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        server.start()
        sender.join()
        assert BusyLoadingError in errors
        worker.until(lambda: recorded() == {"first", "second"})
        worker.until(lambda: "loop=streams goes on" in worker.text)
        assert worker.stop() == 0
    assert "Unrecoverable" not in worker.text
    assert "crashed" not in worker.text


@contextmanager
def read_only(server):
    """Let transactions be read-only by default."""
    with psycopg.connect(server.url(), autocommit=True) as admin:
        admin.execute("SET default_transaction_read_only = off")
        admin.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        admin.execute("SELECT pg_reload_conf()")
        try:
            yield
        finally:
            admin.execute("ALTER SYSTEM RESET default_transaction_read_only")
            admin.execute("SELECT pg_reload_conf()")


@contextmanager
def standby(server):
    """Let a Postgres be the standby of a primary that is gone."""
    server.stop()
    (server.data / "standby.signal").touch()
    server.start()
    try:
        yield
    finally:
        with psycopg.connect(server.url(), autocommit=True) as admin:
            admin.execute("SELECT pg_promote()")


class Pooler(socketserver.ThreadingTCPServer):
    """Passes connections on to a Postgres; with `fatal` it ends those that record, as some poolers do."""

    daemon_threads = allow_reuse_address = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", 0), Passing)
        self.port = port
        self.fatal = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @contextmanager
    def failing(self):
        self.fatal.set()
        yield
        self.fatal.clear()


class Passing(socketserver.BaseRequestHandler):
    def handle(self):
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.server.port)) as upstream:
            back = threading.Thread(target=self.pass_on, args=(upstream, self.request), daemon=True)
            back.start()
            while data := self.request.recv(1 << 16):
                if self.server.fatal.is_set() and b"record_signals" in data:
                    fields = b"SFATAL\0VFATAL\0CXX000\0MUnable to check out process from the pool\0\0"
                    self.request.sendall(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
                    return
                upstream.sendall(data)

    @staticmethod
    def pass_on(source, target):
        with suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
        with suppress(OSError):  # also after a reset: a client would wait for ever
            target.shutdown(socket.SHUT_RDWR)


@HOSTS
def test_a_postgres_that_refuses_to_write_is_an_outage(
    command, run_program, program_environment, redis_client, postgres_server
):
    pooler = Pooler(postgres_server.identity.port)
    behind = f":{pooler.server_address[1]}/"
    urls = {
        name: program_environment[name].replace(f":{postgres_server.identity.port}/", behind)
        for name in ("CORE_DB_URL", "CORE_FOREX_DB_URL")
    }
    refusals = {
        "read-only": read_only(postgres_server),
        "standby": standby(postgres_server),
        "fatal": pooler.failing(),
    }
    worker = run_program(command, **LOCAL, **urls)
    redis_client.xadd(STREAM, {"payload": raw("first")})
    worker.until(lambda: recorded() == {"first"})
    outage, end = "loop=streams outage", "loop=streams goes on"
    for name, refusing in refusals.items():
        before, sent = worker.text.count(outage), set()

        def is_refused(name=name, before=before, sent=sent):
            """Send until the worker notices: its sessions may learn later than others of a change."""
            sent.add(f"{name}-{len(sent)}")
            redis_client.xadd(STREAM, {"payload": raw(f"{name}-{len(sent) - 1}")})
            return worker.text.count(outage) > before

        with refusing:
            worker.until(is_refused, what=name)
        connections.close_all()
        worker.until(lambda sent=sent: sent <= recorded(), what=name)
        worker.until(lambda: worker.text.count(end) == worker.text.count(outage), what=name)
    assert "the database is not available (25006)" in worker.text
    assert "the database is not available (XX000)" in worker.text
    assert worker.stop() == 0
    assert "crashed" not in worker.text
    assert not DeadLetter.objects.exists()
    pooler.shutdown()
    pooler.server_close()


def database():
    result = DatabaseCheck("default").result(wait=True)
    return result.status.value, result.summary, result.detail


def test_the_database_check_asks_what_recording_needs(postgres_server):
    assert database() == ("ok", "", "")
    assert database() == ("ok", "", ""), "what is tried is taken back"
    with read_only(postgres_server):
        status, summary, detail = eventually(lambda: (found := database())[0] == "failed" and found)
        assert (status, summary) == ("failed", "cannot record signals")
        assert detail.startswith("25006 ")
    with standby(postgres_server):
        connections.close_all()
        assert database()[:2] == ("failed", "cannot record signals")
    eventually(lambda: database()[0] == "ok")


@contextmanager
def role(statements):
    """Connect as a role that may do all but what the statements take from it."""
    options = connections.settings["default"]["OPTIONS"]
    with connections["default"].cursor() as cursor:
        cursor.execute("CREATE ROLE limited_hub")
        cursor.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO limited_hub")
        cursor.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO limited_hub")
        cursor.execute("GRANT ALL ON ALL FUNCTIONS IN SCHEMA public TO limited_hub")
        for statement in statements:
            cursor.execute(statement)
    options["options"] = "-c role=limited_hub"
    try:
        yield
    finally:
        del options["options"]
        with connections["default"].cursor() as cursor:
            cursor.execute("DROP OWNED BY limited_hub; DROP ROLE limited_hub")


@pytest.mark.parametrize(
    ("lost", "detail"),
    [
        ("INSERT ON trading_signals", "42501 permission denied for table trading_signals"),
        ("ALL ON ledger_lock", "42501 permission denied for table ledger_lock"),
        ("INSERT ON dead_letters", "INSERT on dead_letters"),
        ("ALL ON ALL FUNCTIONS IN SCHEMA public", "EXECUTE on record_signals"),
        ("USAGE ON SEQUENCE trading_signals_position_seq", "USAGE on trading_signals_position_seq"),
    ],
)
def test_the_database_check_sees_a_lost_grant(lost, detail):
    with role([f"REVOKE {lost} FROM limited_hub"]):
        assert database()[0] == "failed"
        assert detail in database()[2]


def test_many_database_checks_at_once_harm_no_writer(redis_client):
    """Nor does a writer's short lock fail a check."""
    from aggregator import ledger
    from tests.aggregator.ledger.samples import entry

    done = threading.Event()
    results = []

    def ask():
        while not done.is_set():
            results.append(database())

    with ExitStack() as stack:
        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(done.set)
        for number in range(100):
            assert [each.fate for each in ledger.record([entry(f"s{number}")], "webhook")] == ["accepted"]
    assert len(results) > 4
    assert {status for status, _, _ in results} == {"ok"}
