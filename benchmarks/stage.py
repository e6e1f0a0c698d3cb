"""The servers and programs that the benchmarks run on."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil
import psycopg
import redis

from config.local import Postgres, Redis, free_port
from tests.temporary_home import temporary_home

ROOT = Path(__file__).parent.parent
SECRET = "whsec_YmVuY2htYXJrLXNlY3JldC0wMTIzNDU2Nzg5YWJj"
STREAM = "core_signals:signals"


@dataclass
class Stage:
    """Running servers, and the environment of programs that use them."""

    home: Path
    """Where the servers keep their data."""
    environ: dict[str, str]
    database_url: str
    redis_url: str
    stack: ExitStack
    """What ends with the stage."""

    def with_database(self, name: str) -> "Stage":
        """Return a stage on the same servers, with a ledger of its own."""
        self.sql(f"CREATE DATABASE {name}")
        url = urlsplit(self.database_url)._replace(path=f"/{name}").geturl()
        other = replace(self, environ=self.environ | {"CORE_DB_URL": url}, database_url=url)
        other.run("manage.py", "migrate", "--verbosity", "0")
        return other

    def sql(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def processor_seconds(self) -> float:
        """Return how much time of the processors Postgres and the programs that have ended used so far."""
        [(lines,)] = self.sql("SELECT pg_read_file('postmaster.pid')")
        main = psutil.Process(int(str(lines).split()[0]))
        ended = main.cpu_times()
        running = [process.cpu_times() for process in (main, *main.children())]
        postgres = (
            ended.children_user + ended.children_system + sum(each.user + each.system for each in running)
        )
        programs = resource.getrusage(resource.RUSAGE_CHILDREN)
        return postgres + programs.ru_utime + programs.ru_stime

    def redis(self) -> redis.Redis:
        return redis.Redis.from_url(self.redis_url)

    def empty(self) -> None:
        """Empty the tables and the streams, as before the first signal."""
        self.sql(
            "TRUNCATE trading_signals, sightings, dead_letters, arrival_minutes, arrival_hours, agents, "
            "symbol_aliases, peer_signals CASCADE"
        )
        self.sql("CHECKPOINT")
        self.redis().flushdb()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a Python program of the project in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def run(self, *command: str) -> bytes:
        """Run a Python program to its end; return what it printed."""
        finished = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environ,
            check=True,
            capture_output=True,
        )
        return finished.stdout

    def answering(self, *command: str) -> Callable[[str], str]:
        """Start a Python program that answers each line with one; return the function that asks it."""
        program = subprocess.Popen(
            [sys.executable, *command],
            cwd=ROOT,
            env=self.environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.stack.callback(end, program)
        questions, answers = program.stdin, program.stdout
        assert questions, "it is a pipe"
        assert answers, "it is a pipe"

        def ask(question: str) -> str:
            questions.write(f"{question}\n".encode())
            questions.flush()
            answer = answers.readline()
            if not answer:
                raise RuntimeError(f"{command} has ended")
            return answer.decode()

        return ask

    @contextmanager
    def serving(self, *command: str) -> Iterator[int]:
        """Run a web server, whose command may hold `{port}`; give its port when it answers."""
        port = free_port()
        program = self.start(*(part.format(port=port) for part in command))
        try:
            until(lambda: _answers(f"http://127.0.0.1:{port}/livez"), f"{command} to answer")
            yield port
        finally:
            end(program)


@contextmanager
def stage() -> Iterator[Stage]:
    """Start embedded Postgres and Redis with the hub's schema and the peers' table."""
    with ExitStack() as stack:
        home = stack.enter_context(temporary_home())
        # As one would set it up: fsync and synchronous_commit stay on.
        postgres = stack.enter_context(
            Postgres(home, shared_buffers="512MB", max_wal_size="4GB", track_commit_timestamp="on")
        )
        cache = stack.enter_context(Redis(home, durable=False))
        url = postgres.create_database("bench")
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("CORE_", "DJANGO_", "AGG_"))
        } | {
            "SIGNAL_HUB_DOTENV": "off",
            "CORE_DB_URL": url,
            "CORE_REDIS_URL": cache.url,
            "CORE_AUTH_SECRET": "benchmarks-only-auth-secret-0123456789",
            "CORE_EVENT_WEBHOOK_SECRET": SECRET,
            "DJANGO_SECRET_KEY": "benchmarks-only-secret-key-0123456789-0123456789-0123456789",
            "PYTHONPATH": str(ROOT),
        }
        ready = Stage(home, environ, url, cache.url, stack)
        ready.run("manage.py", "migrate", "--verbosity", "0")
        # The peers insert into the same table without the hub's positions and dead letters.
        ready.sql("CREATE TABLE peer_signals (LIKE trading_signals INCLUDING ALL)")
        yield ready


def until(condition: object, what: str, seconds: float = 120.0) -> None:
    """Poll a callable until it is true; RuntimeError after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        if time.monotonic() > deadline:
            raise RuntimeError(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.02)


def end(program: subprocess.Popen[bytes]) -> None:
    """Ask a program to end, and make it where it does not."""
    program.terminate()
    try:
        program.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(program.pid, signal.SIGKILL)
        program.wait()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
