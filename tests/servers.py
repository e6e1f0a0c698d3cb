"""Real Postgres and Redis for the test run, and real programs of the hub that use them.

The servers are started by the run itself, or taken from CORE_TEST_DB_URL and CORE_TEST_REDIS_URL. To run it
on other versions, CORE_TEST_POSTGRES names the folder of another Postgres' programs, and CORE_TEST_REDIS a
server program: `/usr/lib/postgresql/15/bin`, `/usr/bin/redis-server`. All that is done before Django reads
its settings, and leaves in the environment what the hub needs and nothing of what the developer's shell or
`.env` says.
"""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit, urlunsplit

import psutil

from config.local import Postgres, Redis, is_port_free
from config.local.server import PORTS
from tests.temporary_home import temporary_home

T = TypeVar("T")
PROJECT = Path(__file__).parent.parent
DATABASE = "signal_hub"
FOREX_DATABASE = "signal_hub_forex"
FOREIGN_PREFIXES = ("CORE_", "DJANGO_", "AGG_", "SIGNAL_HUB_", "PG", "CELERY_", "PYTHONDONTWRITEBYTECODE")
"""The last one would have each program that a test starts compile the project anew."""
GIVEN = ("CORE_TEST_DB_URL", "CORE_TEST_REDIS_URL")
PROGRAMS = ("CORE_TEST_POSTGRES", "CORE_TEST_REDIS")

WAIT_TIMEOUT_S = 120.0
"""How long a test waits for what takes a second or two, since the machine may have much else to do."""

# Fixed, so that a signature in a test can be written down.
AUTH_SECRET = "tests-only-auth-secret"
WEBHOOK_SECRET = "whsec_dGVzdHMtb25seS13ZWJob29rLXNlY3JldC0wMTIzNDU="


class Servers:
    """The servers of a test run; an attribute is None where the server was given from outside."""

    def __init__(self) -> None:
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self._stack = ExitStack()

    def start(self, environ: MutableMapping[str, str]) -> None:
        """Start what is not given and set the environment of the run."""
        database_url, redis_url = (environ.get(name) for name in GIVEN)
        postgres, cache = (Path(path) if (path := environ.get(name)) else None for name in PROGRAMS)
        if not database_url or not redis_url:
            home = self._stack.enter_context(temporary_home())
        if not database_url:
            self.postgres = self._stack.enter_context(
                Postgres(home, durable=False, programs=postgres, max_connections="200")
            )
            database_url = self.postgres.url(DATABASE)
        if not redis_url:
            self.redis = self._stack.enter_context(Redis(home, durable=False, program=cache))
            redis_url = self.redis.url
        clean(environ)
        environ.update(
            {
                "SIGNAL_HUB_DOTENV": "off",
                "DJANGO_SETTINGS_MODULE": "config.settings",
                "DJANGO_SECRET_KEY": "tests-only-django-secret-key-0123456789-0123456789-0123456789",
                "DJANGO_ALLOWED_HOSTS": "localhost,127.0.0.1,testserver",
                "CORE_AUTH_SECRET": AUTH_SECRET,
                "CORE_ALERT_NETWORKS": "127.0.0.0/8",
                "CORE_EVENT_WEBHOOK_SECRET": WEBHOOK_SECRET,
                "CORE_DB_URL": database_url,
                "CORE_FOREX_DB_URL": renamed(database_url, FOREX_DATABASE),
                "CORE_REDIS_URL": redis_url,
            }
        )

    def stop(self) -> None:
        """Stop what was started and remove its data."""
        self._stack.close()


def clean(environ: MutableMapping[str, str]) -> None:
    """Remove every variable that could steer the hub or a database client, except what is given to tests."""
    for name in [
        name for name in environ if name.startswith(FOREIGN_PREFIXES) and name not in GIVEN + PROGRAMS
    ]:
        del environ[name]


def renamed(url: str, dbname: str) -> str:
    """The same server's URL with another database."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{dbname}"))


@contextmanager
def frozen(server: Postgres) -> Iterator[None]:
    """Let a server neither answer nor hang up, as one whose disk hangs."""
    try:
        # One that is on a processor may answer or make another once more: look again until all have stopped.
        while running := [each for each in _processes(server) if not _has_stopped(each)]:
            _send(signal.SIGSTOP, running)
            time.sleep(0.001)
        yield
    finally:
        _send(signal.SIGCONT, _processes(server))


def _processes(server: Postgres) -> list[psutil.Process]:
    """Return a server's processes, the postmaster first.

    Not psutil's `children`, which leaves out those that are older than their parent by the system's clock.
    """
    found = [each for each in psutil.process_iter(["ppid"]) if each.info["ppid"] == server.pid]
    return [psutil.Process(server.pid), *found]


def _has_stopped(process: psutil.Process) -> bool:
    try:
        return process.status() in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}
    except psutil.NoSuchProcess:
        return True


def _send(number: signal.Signals, processes: list[psutil.Process]) -> None:
    for each in processes:
        with suppress(ProcessLookupError):
            os.kill(each.pid, number)


def eventually(condition: Callable[[], T], seconds: float = WAIT_TIMEOUT_S, what: str = "") -> T:
    """Poll until the condition is truthy and return its value; AssertionError after the deadline.

    A condition that raises OSError (no connection yet) counts as not yet true.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what or condition}")
        time.sleep(0.02)


def until_still(measure: Callable[[], int], enough: int, still: float = WAIT_TIMEOUT_S) -> int:
    """Poll until `measure` gives `enough`, however long, while it moves; return what it gave last."""
    last, deadline = measure(), time.monotonic() + still
    while last < enough and time.monotonic() < deadline:
        time.sleep(0.02)
        if (now := measure()) != last:
            last, deadline = now, time.monotonic() + still
    return last


def _ports_of_this_worker() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    mine = PORTS[number :: int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))]
    begin = os.getpid() % len(mine)  # another run on this machine begins elsewhere
    return itertools.cycle([*mine[begin:], *mine[:begin]])


_PORTS = _ports_of_this_worker()


def free_port() -> int:
    """Return a port of 127.0.0.1 on which no program listens, and that no other test of this run gets soon.

    Of two workers that chose at random, one could find its port taken by the time it listens, or share it
    unnoticed with the other's web server.
    """
    return next(port for port in _PORTS if is_port_free(port))


class Program:
    """A real subprocess of the hub, with its output in a file."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str], output: Path) -> None:
        self.output = output
        with output.open("wb") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env=dict(environ),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        """All that the program has written so far."""
        return self.output.read_text(errors="replace")

    def until(self, condition: Callable[[], T], seconds: float = WAIT_TIMEOUT_S, what: str = "") -> T:
        """Wait for the condition; an AssertionError with the program's output when it dies or is too slow."""

        def alive_and_true() -> T | bool:
            value = condition()
            assert value or self.process.poll() is None, f"ended with {self.process.returncode}"
            return value

        try:
            return eventually(alive_and_true, seconds, what)  # type: ignore[return-value]
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def stop(self, seconds: float = WAIT_TIMEOUT_S) -> int:
        """SIGTERM; return the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds: float = WAIT_TIMEOUT_S) -> int:
        """Return the exit status; AssertionError with the output when it does not end in time."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"does not end within {seconds:.0f} s:\n{self.text}") from None

    def kill(self) -> None:
        """SIGKILL to the program and its children."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def manage(*arguments: str) -> list[str]:
    """Command line of `manage.py`."""
    return [sys.executable, "manage.py", *arguments]


def web(port: int) -> list[str]:
    """Command line of the web server."""
    return asgi(port, "config.web:application")


def receiver(port: int) -> list[str]:
    """Command line of the receiver."""
    return asgi(port, "aggregator.receiver:app")


def wsgi(port: int) -> list[str]:
    """Command line of the web server over WSGI."""
    return _granian(port, "wsgi", "config.wsgi:application")


def asgi(port: int, application: str) -> list[str]:
    """Command line of an ASGI server."""
    return _granian(port, "asgi", application)


def _granian(port: int, interface: str, application: str) -> list[str]:
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--no-ws"]
    return [sys.executable, "-m", "granian", "--interface", interface, *options, application]


def answers(url: str) -> bool:
    """Whether our own server answers there with 200; OSError when it does not answer."""
    with urllib.request.urlopen(url, timeout=30) as response:  # noqa: S310 - our own server
        return bool(response.status == 200)


def serve(
    run_program: Callable[..., Program], command: Callable[[int], list[str]], port: int, **variables: str
) -> str:
    """Start what serves the hub at a port; return its URL when `/livez` answers."""
    url = f"http://127.0.0.1:{port}"
    program = run_program(command(port), **variables)
    program.until(lambda: answers(f"{url}/livez"), what="/livez")
    return url


SERVERS = Servers()
